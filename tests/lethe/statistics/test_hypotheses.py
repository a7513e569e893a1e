import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from lethe import statistics
from tests.synthetic_records import BOOTSTRAP, values

NAN = float("nan")
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_holm_of_an_example():
    # In order .005 · 4 = .02, .01 · 3 = .03, .03 · 2 = .06, .04 · 1, which may not be below the one before.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_holm_lies_between_the_raw_p_and_bonferroni_and_keeps_the_order(raw):
    adjusted = statistics.holm(raw)
    assert all(p <= found <= min(1, p * len(raw)) + 1e-12 for p, found in zip(raw, adjusted, strict=True))
    assert [adjusted[index] for index in np.argsort(raw, kind="stable")] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1, min(raw) * len(raw)))


def test_a_test_that_could_not_be_made_stays_missing_and_counts_as_one_of_the_family():
    found = statistics.holm([0.01, NAN, 0.2])
    assert found[0] == pytest.approx(0.03)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.4)


def test_holm_holds_the_family_wise_error_of_dependent_tests():
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(2000, 1))
    scores = (shared + generator.normal(size=(2000, 9))) / math.sqrt(2)
    raw = np.vectorize(lambda z: 0.5 * math.erfc(z / math.sqrt(2)))(scores)
    wrong = np.mean([min(statistics.holm(list(row))) <= 0.05 for row in raw])
    assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert (raw.min(axis=1) <= 0.05).mean() > 0.15  # without it: up to 1 − 0.95⁹ = 0.37


def test_the_mean_of_three_clusters_above_zero():
    # Sums 3, 2 and −1 of the clusters make 4; as large are +++ with the sign of the last flipped (6) and none (4).
    item = values([1, 2, 2, -1], ["a", "a", "b", "c"])
    assert statistics.mean_above_zero_p(item, samples=8, seed=0) == 2 / 8  # no more ways than samples: exact


def test_a_flip_whose_sum_is_the_same_but_for_rounding_counts_as_large():
    # −0.3 + 0.1 + 0.2 is 0, in floating point 3e-17. Of the eight flips five are as large: that, its opposite, and
    # 0.3 + 0.1 + 0.2, 0.3 + 0.1 − 0.2 and 0.3 − 0.1 + 0.2.
    assert statistics.mean_above_zero_p(values([-0.3, 0.1, 0.2]), samples=100, seed=0) == 5 / 8


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7))
def test_all_sign_flips_agree_with_scipy(sums):
    expected = permutation_test(
        (np.array(sums, dtype=float),), np.sum, permutation_type="samples", alternative="greater", vectorized=True
    )
    found = statistics.mean_above_zero_p(values(sums), samples=1000, seed=0)
    assert found == pytest.approx(expected.pvalue)


def test_drawn_sign_flips_agree_with_all_of_them():
    item = values(np.random.default_rng(1).normal(0.4, 1, 12))
    exact, drawn = (statistics.mean_above_zero_p(item, samples, seed=0) for samples in (4096, 4095))
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 4095))


def test_the_observed_signs_count_as_one_of_the_drawn_ones():
    # That 99 draws hold the one of 2^40 ways in which all are above zero: never.
    assert statistics.mean_above_zero_p(values([1.0] * 40), samples=99, seed=0) == 1 / 100


def test_the_test_of_the_mean_holds_its_level_where_questions_go_together():
    generator = np.random.default_rng(2)
    owners = [f"a{i // 10}" for i in range(80)]
    found = [
        statistics.mean_above_zero_p(values(np.repeat(generator.normal(size=8), 10), owners), 1000, seed=0)
        for _ in range(500)
    ]
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_nothing_above_zero_has_a_p_value_of_one_and_nothing_at_all_has_none():
    assert statistics.mean_above_zero_p(values([0.0, 0.0]), 100, 0) == 1.0
    assert statistics.mean_above_zero_p(values([NAN, 1.0, 1.0]), 100, 0) == 1 / 4
    assert math.isnan(statistics.mean_above_zero_p(values([NAN]), 100, 0))


@given(st.floats(-0.2, 0.2), st.floats(0.01, 0.2))
def test_equivalence_is_found_exactly_where_its_p_value_is_small(shift, margin):
    drawn = np.random.default_rng(3).normal(0, 0.1, 30)
    first, second = values(drawn + shift), values(np.zeros(30))
    settings = BOOTSTRAP.model_copy(update={"confidence": 0.9})
    decided = statistics.equivalent(statistics.difference(first, second, settings), margin)
    p = statistics.equivalence_p(first, second, margin, settings)
    # The ends of the interval lie between two resamples: p and decision may differ by two of 401.
    assert (p <= 0.05 + 2 / 401) if decided else (p >= 0.05 - 2 / 401)


def test_equal_models_are_as_equivalent_as_the_resamples_can_say():
    same = values(np.linspace(0, 1, 12))
    assert statistics.equivalence_p(same, same, 0.05, BOOTSTRAP) == 1 / 401
    apart = values(np.linspace(0, 1, 12) + 0.5)
    assert statistics.equivalence_p(apart, same, 0.05, BOOTSTRAP) == 1.0


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_a_difference_that_lies_at_the_margin_is_not_within_it(shift):
    assert statistics.equivalence_p(values([shift] * 4), values([0.0] * 4), 0.5, BOOTSTRAP) == 1.0


def test_without_an_interval_there_is_no_equivalence():
    one_author = values([0.1, 0.2], ["a", "a"])
    assert statistics.equivalence_p(one_author, one_author, 0.05, BOOTSTRAP) is None
    assert statistics.equivalence_p(values([NAN]), values([1.0]), 0.05, BOOTSTRAP) is None


def test_the_spread_between_three_retain_models():
    # Mean 2, deviation √((1 + 0 + 1)/2) = 1; t of 2 degrees of freedom at 0.975 is 4.302653: · √(4/3) = 4.968276.
    found = statistics.retain_spread([1.0, 2.0, 3.0], 0.95)
    assert found == pytest.approx((3, 2.0, 1.0, 1.0, 3.0, 2 - 4.968276, 2 + 4.968276), abs=1e-6)
    assert found.largest_difference == 2.0


def test_one_more_retain_model_lies_within_as_often_as_said():
    generator = np.random.default_rng(4)
    draws = generator.normal(0.3, 0.02, size=(500, 4))
    within = [found.low <= row[-1] <= found.high for row in draws if (found := statistics.retain_spread(row[:3], 0.9))]
    assert abs(np.mean(within) - 0.9) < 4 * math.sqrt(0.9 * 0.1 / 500)


def test_one_retain_model_has_no_spread():
    with pytest.raises(ValueError, match="two seeds or more, not 1"):
        statistics.retain_spread([0.1], 0.95)
