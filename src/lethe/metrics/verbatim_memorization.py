"""Verbatim memorization: how far the model continues a text as it truly goes on.

All three numbers compare the greedy continuation of a text's beginning with the true continuation; 1: the same words
in the same order; 0: no word in common. ``verbatim_memorization`` is ROUGE-L F1, in mode ``muse`` of the words as
they stand, with as many true tokens as may be generated (Shi et al., 2024, arXiv:2407.06460, which prints it times
100), in mode ``openunlearning`` of their stems, with the whole rest of the text (arXiv:2506.12618): of a rest of 500
words that is known by heart, 100 said words make an F1 of 1/3. ``longest_common_run`` is the longest run of words that
both share, over the words of the true continuation, and ``shared_ngrams`` the share of its runs of n words that the
model says anywhere (Carlini et al., 2022, arXiv:2202.07646, look for runs of 50 tokens); for both it is cut as in mode
``muse``.
"""

from typing import Literal

from pydantic import PositiveInt

from lethe import overlap, scores
from lethe.config import Section
from lethe.records import Generation, Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"verbatim_memorization": (0.0, 1.0), "longest_common_run": (0.0, 1.0), "shared_ngrams": (0.0, 1.0)}
DIRECTION = dict.fromkeys(RANGE, "match_oracle")
NEEDS = frozenset({"text_continuations"})


class Config(Section):
    """Whose ROUGE, and how many words are a run."""

    mode: Literal["muse", "openunlearning"]
    ngram: PositiveInt


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The three numbers of every continued text."""
    continued = scores.texts(said).generations  # a text that ends within its beginning has none
    found = {
        "verbatim_memorization": [_FORMS[config.mode](item) for item in continued],
        "longest_common_run": [overlap.longest_common_run(item.reference, item.text) for item in continued],
        "shared_ngrams": [overlap.shared_ngrams(item.reference, item.text, config.ngram) for item in continued],
    }
    ids = [item.id for item in continued]
    values = {
        name: scores.per_question(Records([], continued), zip(ids, each, strict=True)) for name, each in found.items()
    }
    return scores.where_asked(values, said)


def _as_muse(item: Generation) -> float:
    return overlap.rouge_l(item.reference, item.text, stemmer=False).f1


def _as_openunlearning(item: Generation) -> float:
    return overlap.rouge_l(item.whole_reference, item.text, stemmer=True).f1


_FORMS = {"muse": _as_muse, "openunlearning": _as_openunlearning}
