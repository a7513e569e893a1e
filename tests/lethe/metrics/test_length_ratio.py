import pytest

from lethe.metrics import length_ratio
from lethe.metrics.length_ratio import Config
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, generation, likelihood


def said(*texts):
    return {"forget": Records([], [generation("x", text, id=f"q{n}", cluster=f"c{n}") for n, text in enumerate(texts)])}


def ratio(model, retain):
    return length_ratio.compute(Observation(model, {}), retain, Config(), BOOTSTRAP)["forget_length_ratio"]


def test_it_is_words_over_words():
    # 1 + 2 words over 4 + 2.
    assert ratio(said("one", "one two"), said("a b c d", "a b")).value == pytest.approx(3 / 6)


def test_a_model_that_speaks_like_the_retain_model_has_exactly_one():
    found = ratio(said("one", "one two", "three"), said("two", "two one", "four"))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_silent_model_has_zero_and_a_silent_retain_model_none_to_compare_with():
    assert ratio(said("", ""), said("a", "b")).value == 0.0
    assert ratio(said("a", "b"), said("", "")).value is None


def test_answers_that_were_not_given_are_missing():
    silent = {"forget": Records([likelihood([-1.0])], [])}
    assert ratio(silent, silent).value is None
