import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import config, registry
from lethe.metrics import fluency
from lethe.metrics.fluency import Config, distinct_ngrams, ngram_entropy
from lethe.records import Records
from lethe.scoring import Metric, observe
from tests.synthetic_records import BOOTSTRAP, generation, likelihood, model_records

PARAMS = Path(__file__).parents[3] / "params.yaml"


def test_the_entropy_of_five_words_with_one_run_twice():
    # a b a b c: pairs ab ba ab bc, of which ab is half: H2 = ½·1 + 2·¼·2 = 1.5. Triples aba bab abc: H3 = log2 3.
    # ½·(⅔·1.5 + 4/3·log2 3) = 0.5 + ⅔·log2 3
    assert ngram_entropy("a b a b c", "words") == pytest.approx(0.5 + 2 / 3 * math.log2(3))


def test_different_words_have_the_largest_entropy_and_one_word_over_and_over_none():
    # Nine different words: 8 pairs and 7 triples, ½·(⅔·3 + 4/3·log2 7).
    assert ngram_entropy("one two three four five six seven eight nine", "words") == pytest.approx(
        1 + 2 / 3 * math.log2(7)
    )
    assert ngram_entropy("rain " * 40, "words") == 0.0
    assert ngram_entropy("", "words") == ngram_entropy("rain", "words") == 0.0


def test_in_the_mode_of_rwku_a_comma_is_a_word():
    # a , b , a: four different pairs (a, | ,b | b, | ,a) and three different triples: ½·(⅔·2 + 4/3·log2 3).
    # Without commas a b a: two pairs and one triple: ½·(⅔·1).
    assert ngram_entropy("a, b, a", "rwku") == pytest.approx(2 / 3 + 2 / 3 * math.log2(3))
    assert ngram_entropy("a, b, a", "words") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("He is tall. She runs.", "He is tall . She runs ."),
        ("Is he? No! He said so.", "Is he ? No ! He said so ."),
        ("Mr. King met J. R. Smith on Jan. 5.", "Mr. King met J. R. Smith on Jan. 5 ."),
        ("He left the U.S. It was $5.5 million.", "He left the U.S . It was $ 5.5 million ."),
        ("The U.S. Army, e.g. here.", "The U.S. Army , e.g. here ."),
        ("", ""),
    ],
    ids=["two sentences", "other ends", "abbreviations and initials", "abbreviation at an end", "within", "nothing"],
)
def test_the_words_of_mode_rwku_have_the_full_stop_of_each_sentence_apart(text, words):
    assert fluency._words_of_nltk(text) == words.split()


def test_in_the_mode_of_rwku_the_full_stops_within_a_text_are_words_too():
    # a man . A man . has five pairs, of which "man ." is two, and four different triples.
    pairs = 2 / 5 * math.log2(5 / 2) + 3 / 5 * math.log2(5)
    assert ngram_entropy("a man. A man.", "rwku") == pytest.approx((2 / 3 * pairs + 4 / 3 * 2) / 2)


def test_the_share_of_different_runs():
    # Pairs of "a b a b c": three different ones of four.
    assert distinct_ngrams("a b a b c", 2) == 3 / 4
    assert distinct_ngrams("a", 2) == 1.0
    assert distinct_ngrams("", 2) == distinct_ngrams("...", 2) == 0.0


def test_every_answer_and_every_continued_text_counts_and_a_question_without_is_unscored():
    said = Records(
        [likelihood([-1.0], id=name) for name in ("q0", "q1")],
        [generation("a", "a b c", id="q0"), generation("a", "a b c", id="q0", prompt="paraphrased_question")],
    )
    found = fluency.compute(said, Config(mode="words", distinct_ngram=1))
    assert {name: (values.n, values.unscored) for name, values in found.items()} == {
        "ngram_entropy": (1, 1),
        "distinct_ngrams": (1, 1),
    }


@given(st.lists(st.sampled_from("abcd"), max_size=14))
def test_the_entropy_lies_between_nothing_and_that_of_different_words(words):
    runs = [max(len(words) - n + 1, 1) for n in (2, 3)]
    largest = (2 / 3 * math.log2(runs[0]) + 4 / 3 * math.log2(runs[1])) / 2
    assert -1e-12 <= ngram_entropy(" ".join(words), "words") <= largest + 1e-12
    assert ngram_entropy(" ".join(words), "words") == pytest.approx(ngram_entropy(" ".join(words[::-1]), "words"))


def test_of_an_open_question_the_fluency_alone_is_known_and_no_utility_rests_on_it():
    blocks = config.read_params(PARAMS)["metrics"]
    modules = {name: registry.load("metrics", name) for name in registry.names("metrics")}
    every = [Metric(name, it, config.parse(it.Config, blocks[name], name)) for name, it in modules.items()]
    known = {split: model_records({split: 0.9}) for split in ("retain", "world_facts")}
    opened = Records([], [generation("", "It is a b c.", split="utility_fluency", id=name) for name in ("i0", "i1")])
    with_it, without = (observe(splits, every) for splits in (known | {"utility_fluency": opened}, known))
    scored = {name for name, values in with_it.values["utility_fluency"].items() if values.n}
    assert scored == {"ngram_entropy", "distinct_ngrams"}
    utility = next(metric for metric in every if metric.name == "model_utility")
    found = [utility.module.compute(one, {}, utility.config, BOOTSTRAP)["model_utility"] for one in (with_it, without)]
    assert found[0].value == found[1].value is not None
