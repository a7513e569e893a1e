import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from lethe.metrics import forget_quality
from lethe.metrics.forget_quality import RANGE, Config
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, model_records, question

CONFIG = Config(mean="geometric", mode="exact", permutation_samples=99, seed=0)
RELEASED = CONFIG.model_copy(update={"mode": "openunlearning"})


def quality(model, retain, config=CONFIG):
    observation = Observation({"forget": model}, {})
    found = forget_quality.compute(observation, {"forget": retain}, config, BOOTSTRAP)
    return found, {name: score.value for name, score in found.items()}


def with_truth_ratios(log_ratios):
    """One question an author, whose false answer has the paraphrase's likelihood times exp(log ratio)."""
    answers = [question(1.0, 5.0, [5.0 - ratio], id=f"q{i}", cluster=f"a{i}") for i, ratio in enumerate(log_ratios)]
    return Records([answer for group in answers for answer in group], [])


def with_answers(correct, false):
    """One question an author, with the mean negative log-likelihoods of its paraphrase and of its false answer."""
    pairs = enumerate(zip(correct, false, strict=True))
    answers = [question(1.0, true, [other], id=f"q{i}", cluster=f"a{i}") for i, (true, other) in pairs]
    return Records([answer for group in answers for answer in group], [])


@pytest.mark.parametrize("config", [CONFIG, RELEASED], ids=lambda config: config.mode)
def test_a_model_like_the_retain_model_cannot_be_told_from_it(config):
    same = model_records({"forget": 0.3})
    assert quality(same, same, config)[1] == {
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


@given(st.lists(st.tuples(*[st.floats(0.01, 9)] * 4), min_size=2, max_size=9, unique_by=lambda row: row[1] - row[0]))
def test_where_probabilities_are_far_above_1e_10_the_distance_is_the_same_in_both_modes(rows):
    model, retain = (with_answers(*zip(*[row[i : i + 2] for row in rows], strict=True)) for i in (0, 2))
    exact, released = (quality(model, retain, config)[1]["forget_distance"] for config in (CONFIG, RELEASED))
    assert released == pytest.approx(exact, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("model", "retain", "ties"),
    [
        # Ratios e⁻¹, e⁻², e⁻³ in both; with the 1e-10 a collapsed model's are near 0, the last, e⁻⁸⁰³ / 1e-10, is 0.
        (([50.0, 60.0, 800.0], [51.0, 62.0, 803.0]), ([1.0, 1.0, 1.0], [2.0, 3.0, 4.0]), 0),
        # Losses in few digits: six times e⁻¹, of which 1e-10 makes six different ones, e⁻¹ (1 − 1e-10 e^loss).
        (([1.0, 2.0, 2.5], [2.0, 3.0, 3.5]), ([3.0, 4.0, 5.0], [4.0, 5.0, 6.0]), 0),
        # Two ratios that are 0 in both models stay equal: of three steps one is left.
        (([50.0, 800.0, 900.0], [51.0, 802.0, 903.0]), ([1.0, 800.0, 900.0], [2.0, 802.0, 903.0]), 2),
    ],
)
def test_in_mode_openunlearning_the_ratios_of_the_released_code_are_tested(model, retain, ties):
    sides = [(np.exp(-np.array(false)), np.exp(-np.array(correct))) for correct, false in (model, retain)]
    expected = ks_2samp(*[wrong / (true + 1e-10) for wrong, true in sides])
    found = quality(with_answers(*model), with_answers(*retain), RELEASED)[1]
    assert found["forget_quality_ks"] == pytest.approx(1 - ties / 3) == pytest.approx(expected.statistic)
    assert found["forget_quality"] == pytest.approx(expected.pvalue)
    assert quality(with_answers(*model), with_answers(*retain))[1]["forget_quality_ks"] == 0.0
    assert math.isfinite(found["forget_distance"])
