import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from lethe import statistics

counts = st.integers(1, 60).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


def binomial(successes, trials, share):
    return math.comb(trials, successes) * share**successes * (1 - share) ** (trials - successes)


def test_the_bound_where_nothing_succeeded():
    # (1 − p)^200 = 0.05
    assert statistics.clopper_pearson_upper(0, 200, 0.95) == pytest.approx(1 - 0.05 ** (1 / 200))
    assert statistics.clopper_pearson_upper(0, 200, 0.95) == pytest.approx(0.0149, abs=5e-5)


def test_no_success_in_twenty_trials():
    # z²/(n + z²) at the upper end of the score interval.
    z = NormalDist().inv_cdf(0.975)
    assert statistics.wilson(0, 20, 0.95) == pytest.approx((0.0, z**2 / (20 + z**2)), abs=1e-12)


def test_the_score_interval_of_an_example():
    # (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n) with p = 3/10
    z = NormalDist().inv_cdf(0.95)
    middle, reach = 0.3 + z**2 / 20, z * math.sqrt(0.3 * 0.7 / 10 + z**2 / 400)
    expected = ((middle - reach) / (1 + z**2 / 10), (middle + reach) / (1 + z**2 / 10))
    assert statistics.wilson(3, 10, 0.9) == pytest.approx(expected)


def test_the_score_interval_by_hand():
    # 8 of 10, z = 1.959964, z² = 3.841459: center (8 + 1.920729)/13.841459 = 0.716741;
    # half width 1.959964/13.841459 · √(8·2/10 + 3.841459/4) = 0.141601 · √2.560365 = 0.226578.
    assert statistics.wilson(8, 10, 0.95) == pytest.approx((0.716741 - 0.226578, 0.716741 + 0.226578), abs=2e-6)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_score_interval_is_never_empty_and_never_leaves_the_share_out(count):
    low, high = statistics.wilson(*count, 0.95)
    assert 0 <= low <= count[0] / count[1] <= high <= 1
    assert low < high


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_score_interval_is_that_of_scipy(count, confidence):
    found = binomtest(*count).proportion_ci(confidence, "wilson")
    assert statistics.wilson(*count, confidence) == pytest.approx((found.low, found.high), abs=1e-12)


@given(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
    st.sampled_from([0.3, 0.9, 0.95]),
)
def test_at_the_upper_bound_so_few_successes_have_what_is_left_of_the_confidence(count, confidence):
    successes, trials = count
    bound = statistics.clopper_pearson_upper(successes, trials, confidence)
    at_most = sum(math.comb(trials, c) * bound**c * (1 - bound) ** (trials - c) for c in range(successes + 1))
    assert at_most == pytest.approx(1 - confidence, rel=1e-6)
    assert bound == pytest.approx(beta.ppf(confidence, successes + 1, trials - successes))
    assert bound < statistics.clopper_pearson_upper(successes + 1, trials, confidence) <= 1


@given(st.lists(st.floats(0.01, 0.3), min_size=1, max_size=6))
def test_without_a_success_the_bound_holds_for_the_mean_of_unlike_chances(chances):
    # At the confidence that these chances just contradict, the bound is not below their mean.
    nothing_seen = math.prod(1 - chance for chance in chances)
    assert statistics.clopper_pearson_upper(0, len(chances), 1 - nothing_seen) >= np.mean(chances) - 1e-9


@given(counts)
def test_failures_are_the_mirror_of_successes(count):
    successes, trials = count
    low, high = statistics.wilson(successes, trials, 0.95)
    assert (1 - high, 1 - low) == pytest.approx(statistics.wilson(trials - successes, trials, 0.95), abs=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5])
def test_the_upper_bound_never_covers_less_than_it_says(share):
    bounds = {seen: statistics.clopper_pearson_upper(seen, 30, 0.95) for seen in range(31)}
    covered = sum(binomial(seen, 30, share) for seen, bound in bounds.items() if share <= bound)
    assert covered >= 0.95


@pytest.mark.parametrize("bound", [statistics.wilson, statistics.clopper_pearson_upper])
@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_is_refused(bound, successes, trials):
    with pytest.raises(ValueError, match="at least one trial"):
        bound(successes, trials, 0.95)
