import math

import pytest

from lethe.metrics import forget_quality
from lethe.metrics.forget_quality import RANGE, Config
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, model_records, question

CONFIG = Config(mean="geometric", permutation_samples=99, seed=0)


def quality(model, retain):
    observation = Observation({"forget": model}, {})
    found = forget_quality.compute(observation, {"forget": retain}, CONFIG, BOOTSTRAP)
    return found, {name: score.value for name, score in found.items()}


def with_truth_ratios(log_ratios):
    """One question an author, whose false answer has the paraphrase's likelihood times exp(log ratio)."""
    answers = [question(1.0, 5.0, [5.0 - ratio], id=f"q{i}", cluster=f"a{i}") for i, ratio in enumerate(log_ratios)]
    return Records([answer for group in answers for answer in group], [])


def test_a_model_like_the_retain_model_cannot_be_told_from_it():
    same = model_records({"forget": 0.3})
    assert quality(same, same)[1] == {
        "forget_quality": 1.0,
        "forget_quality_log10_p": 0.0,
        "forget_quality_ks": 0.0,
        "forget_distance": 0.0,
        "forget_distance_p": 1.0,
    }


def test_the_example_of_two_samples():
    # D = 0.5 and p = 54/70 (test_statistics); sorted they are 0.3 apart everywhere.
    found, numbers = quality(with_truth_ratios([0.2, 0.4, 0.6, 0.8]), with_truth_ratios([0.5, 0.7, 0.9, 1.1]))
    assert numbers["forget_quality"] == pytest.approx(54 / 70)
    assert numbers["forget_quality_log10_p"] == pytest.approx(math.log10(54 / 70))
    assert numbers["forget_quality_ks"] == 0.5
    assert numbers["forget_distance"] == pytest.approx(0.3, abs=1e-5)  # fp32 records
    assert {(score.n, score.unscored) for score in found.values()} == {(4, 0)}


def test_a_test_too_sharp_for_a_float_is_saturated_not_infinite():
    numbers = quality(
        with_truth_ratios([i / 1000 for i in range(600)]),
        with_truth_ratios([2 + i / 1000 for i in range(600)]),
    )[1]
    assert numbers["forget_quality"] == 0.0  # 2/C(1200, 600) is about 1e-360
    assert numbers["forget_quality_log10_p"] == pytest.approx(-307.65, abs=0.01)


def test_no_truth_ratios_are_missing_and_counted():
    bare = Records(question(1.0), [])
    found, numbers = quality(bare, bare)
    assert set(numbers) == set(RANGE)
    assert set(numbers.values()) == {None}
    assert {(score.n, score.unscored) for score in found.values()} == {(0, 1)}


def test_a_retain_model_that_was_asked_something_else_is_refused():
    with pytest.raises(ValueError, match="share their split and their questions"):
        quality(with_truth_ratios([0.1, 0.2]), with_truth_ratios([0.1]))
