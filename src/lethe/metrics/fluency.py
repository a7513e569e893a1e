"""Fluency: whether what the model says still is varied text, or one word over and over.

``ngram_entropy`` is RWKU's (Jin et al., 2024, arXiv:2406.10890): ½·(⅔·H₂ + 4/3·H₃), where Hₙ is the entropy in bits
of a text's runs of n words; 0: nothing, or one run alone, is said; the longer and the less repetitive the text, the
more. RWKU prints it times 100. Mode ``words`` takes runs of letters and digits for words, mode ``rwku`` those of NLTK's
``word_tokenize``, where commas and the full stop of each sentence count. Answers of one model to other questions are
not comparable: compare with the retain model. ``distinct_ngrams`` is the share of different runs among a text's runs of
n words (Li et al., 2016, arXiv:1510.03055): 1: no run comes twice, which holds for a text too short for two; 0: nothing
is said.

Deviation of mode ``rwku``: sentences are told apart by the same rules (Punkt, Kiss and Strunk, 2006), but with the
abbreviations and sentence starters below in place of those that NLTK downloads. The downloaded model knows more of
either, and of many words whether a capital begins a sentence: behind an abbreviation that only one of the two knows
the full stop is a word in the one and part of a word in the other.
"""

import functools
import math
from collections import Counter
from typing import Any, Literal

from pydantic import PositiveInt

from lethe import overlap, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"ngram_entropy": (0.0, math.inf), "distinct_ngrams": (0.0, 1.0)}
DIRECTION = {"ngram_entropy": "match_oracle", "distinct_ngrams": "match_oracle"}
NEEDS = frozenset({"generations"})

Mode = Literal["words", "rwku"]

_ABBREVIATIONS = (
    "a.d a.k.a a.m apr aug ave b.c bros capt co col corp d.c dec dept dr e.g est etc feb fig gen gov hon i.e inc jan "
    "jr lt ltd maj messrs mr mrs ms mt nov oct p.m ph.d prof rep rev sen sep sept sgt sr st u.k u.n u.s vol vs"
)
_SENTENCE_STARTERS = (
    "a after although an but he her his however i if in it its she since that the there these they this we"
)


class Config(Section):
    """What a word is for the entropy, and how many words are a run for the share of different ones."""

    mode: Mode
    distinct_ngram: PositiveInt


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The entropy and the share of different runs of every greedy answer and every continued text."""
    entropies = [(item.id, ngram_entropy(item.text, config.mode)) for item in said.generations]
    shares = [(item.id, distinct_ngrams(item.text, config.distinct_ngram)) for item in said.generations]
    return {
        "ngram_entropy": scores.per_question(said, entropies),
        "distinct_ngrams": scores.per_question(said, shares),
    }


@functools.cache  # most answers are the same under many conditions
def ngram_entropy(text: str, mode: Mode) -> float:
    """RWKU's weighted mean of the entropies of runs of two and of three words, in bits."""
    tokens = overlap.words(text) if mode == "words" else _words_of_nltk(text)
    return (2 / 3 * _entropy(tokens, 2) + 4 / 3 * _entropy(tokens, 3)) / 2


@functools.cache
def distinct_ngrams(text: str, n: int) -> float:
    """Different runs of ``n`` words over all of them; 1 where there is no run, 0 where there is no word."""
    tokens = overlap.words(text)
    runs = overlap.ngrams(tokens, n)
    return len(set(runs)) / len(runs) if runs else float(bool(tokens))


def _entropy(tokens: list[str], n: int) -> float:
    counts = Counter(overlap.ngrams(tokens, n)).values()
    total = sum(counts)
    return sum(count / total * math.log2(total / count) for count in sorted(counts))


def _words_of_nltk(text: str) -> list[str]:
    sentences, words = _tokenizers()
    return [word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)]


@functools.cache
def _tokenizers() -> tuple[Any, Any]:
    """What ``nltk.word_tokenize`` cuts a text into sentences with, without its download, and these into words."""
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    known = PunktParameters()
    known.abbrev_types = set(_ABBREVIATIONS.split())
    known.sent_starters = set(_SENTENCE_STARTERS.split())
    return PunktSentenceTokenizer(known), NLTKWordTokenizer()
