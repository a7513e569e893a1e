import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from lethe import statistics
from lethe.scores import Score
from lethe.statistics import bootstrap
from tests.synthetic_records import BOOTSTRAP, values

NAN = float("nan")
numbers = st.floats(-5, 5, allow_nan=False, width=32)
samples = st.integers(2, 12).flatmap(lambda size: st.tuples(*[arrays(np.float64, size, elements=numbers)] * 2))


def authors(count, each):
    return [f"author{index:03d}" for index in range(count) for _ in range(each)]


def clustered(generator, count, each, *, share):
    """Standard normal numbers of which ``share`` of the variance belongs to the author."""
    author = np.repeat(generator.normal(0, math.sqrt(share), count), each)
    return author + generator.normal(0, math.sqrt(1 - share), count * each)


def test_constant_values_have_an_interval_of_width_zero():
    (score,) = statistics.means([values([0.3] * 12, authors(4, 3))], BOOTSTRAP)
    assert (score.value, score.low, score.high) == pytest.approx((0.3, 0.3, 0.3), abs=1e-12)
    assert (score.n, score.unscored) == (12, 0)


@pytest.mark.parametrize("block", [8, 1 << 18])
def test_two_clusters_resample_into_exactly_three_means_however_large_the_blocks(block, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", block)
    monkeypatch.setattr(bootstrap, "_PRODUCT", block)
    # a = (1, 1, 1), b = (5): a twice is 6/6 = 1, b twice 10/2 = 5, one of each 8/4 = 2, half of the time.
    item = values([1, 1, 1, 5], ["a", "a", "a", "b"], split=f"blocks of {block}")
    resampled = statistics.resampled_means([item], BOOTSTRAP)[:, 0]
    assert set(resampled) == {1.0, 2.0, 5.0}
    half, deviation = len(resampled) / 2, math.sqrt(len(resampled) / 4)
    assert abs((resampled == 2.0).sum() - half) < 5 * deviation


def test_the_interval_covers_the_true_mean_as_often_as_it_says_and_question_resampling_does_not():
    generator, covered = np.random.default_rng(0), {"authors": 0, "questions": 0}
    for _ in range(200):
        drawn = clustered(generator, 40, 10, share=0.5)
        for unit, item in (("authors", values(drawn, authors(40, 10))), ("questions", values(drawn))):
            (score,) = statistics.means([item], BOOTSTRAP)
            covered[unit] += score.low <= 0 <= score.high
    # 95 % of 200 is 190, with standard deviation 3.1 (percentile intervals of 40 clusters cover about 94 %).
    assert 190 - 4 * 3.1 < covered["authors"] < 190 + 3 * 3.1
    # The variance of the mean is 1 + 9 · 0.5 = 5.5 times what questions suggest: 1.96/√5.5 = 0.84 covers
    # 60 %, 120 of 200 with standard deviation 6.9.
    assert covered["questions"] < 120 + 4 * 6.9


def test_the_order_of_questions_and_clusters_changes_nothing():
    generator = np.random.default_rng(0)
    drawn, owners, order = generator.random(20), np.array(authors(5, 4)), generator.permutation(20)
    straight = statistics.resampled_means([values(drawn, owners)], BOOTSTRAP)
    shuffled = statistics.resampled_means([values(drawn[order], owners[order])], BOOTSTRAP)
    np.testing.assert_allclose(straight, shuffled, rtol=1e-12)


def test_two_models_are_resampled_alike_and_two_splits_or_seeds_are_not():
    same = values(np.arange(10.0))
    first, second = statistics.resampled_means([same, same], BOOTSTRAP).T
    elsewhere = statistics.resampled_means([values(np.arange(10.0), split="holdout")], BOOTSTRAP)[:, 0]
    np.testing.assert_array_equal(first, second)
    reseeded = statistics.resampled_means([same], BOOTSTRAP.model_copy(update={"seed": 1}))[:, 0]
    assert abs(np.corrcoef(first, reseeded)[0, 1]) < 5 / math.sqrt(BOOTSTRAP.samples)
    assert abs(np.corrcoef(first, elsewhere)[0, 1]) < 5 / math.sqrt(BOOTSTRAP.samples)


def test_the_difference_between_a_model_and_itself_is_exactly_zero():
    same = values(np.linspace(0, 1, 20), authors(4, 5))
    assert statistics.difference(same, same, BOOTSTRAP) == Score(0.0, 0.0, 0.0, 20, 0)


def test_a_paired_difference_is_narrower_than_the_difference_of_unpaired_models():
    drawn = clustered(np.random.default_rng(1), 10, 4, share=0.9)
    paired = statistics.difference(values(drawn + 1, authors(10, 4)), values(drawn, authors(10, 4)), BOOTSTRAP)
    assert (paired.low, paired.high) == pytest.approx((1.0, 1.0), abs=1e-9)


def test_several_values_of_a_split_are_scored_together_as_they_are_alone():
    items = [
        values([0.1, 0.4, 0.9, 0.2], "aabb"),
        values([0.5, NAN, 0.7, 0.1], "aabb"),
        values([NAN] * 4, "aabb"),
    ]
    loose = BOOTSTRAP.model_copy(update={"max_unscored": 0.5})
    assert statistics.means(items, loose) == [statistics.means([item], loose)[0] for item in items]


def test_one_cluster_has_a_value_but_no_interval():
    (score,) = statistics.means([values([0.2, 0.4], ["one", "one"])], BOOTSTRAP)
    assert score == Score(pytest.approx(0.3), None, None, 2, 0)


def test_a_statistic_of_two_splits_has_no_interval_where_either_has_one_cluster():
    several, one = values([0.1, 0.2], "ab"), values([0.1, 0.2], "aa", split="holdout")
    spread = np.linspace(0, 1, 10)
    assert statistics.bounds(spread, [several, several], BOOTSTRAP) != (None, None)
    assert statistics.bounds(spread, [several, one], BOOTSTRAP) == (None, None)


def test_nothing_to_average_is_missing_not_zero():
    assert statistics.means([values([])], BOOTSTRAP) == [Score(None, None, None, 0, 0)]
    assert statistics.means([values([NAN, NAN])], BOOTSTRAP) == [Score(None, None, None, 0, 2)]


def test_too_many_unscored_questions_make_a_mean_missing():
    two_of_a_hundred, loose = (
        values([NAN, NAN] + [0.5] * 98),
        BOOTSTRAP.model_copy(update={"max_unscored": 0.02}),
    )
    assert statistics.means([two_of_a_hundred], BOOTSTRAP) == [Score(None, None, None, 98, 2)]
    assert statistics.means([two_of_a_hundred], loose)[0].value == pytest.approx(0.5)
    assert statistics.is_missing(two_of_a_hundred, BOOTSTRAP)
    assert not statistics.is_missing(two_of_a_hundred, loose)
    assert statistics.is_missing(values([]), BOOTSTRAP)


def test_a_question_that_either_model_was_not_scored_on_is_unscored_in_their_difference():
    # Means 2 of (1, 2, 3) and 1 of (0, 1, 2).
    first, second = values([NAN, 1, 2, 3]), values([0, 1, NAN, 2])
    score = statistics.difference(first, second, BOOTSTRAP.model_copy(update={"max_unscored": 0.5}))
    assert (score.value, score.n, score.unscored) == (1.0, 2, 2)


def test_values_of_different_questions_are_not_compared():
    with pytest.raises(ValueError, match="share their split and their questions"):
        statistics.difference(values([1, 2]), values([1, 2, 3]), BOOTSTRAP)


def test_a_ratio_over_nearly_nothing_is_undefined():
    denominators = np.array([0.5, 0.02, 0.01, -0.5])
    np.testing.assert_array_equal(statistics.ratio(np.ones(4), denominators, 0.02), [2.0, 50.0, np.nan, -2.0])


def test_a_ratio_that_is_undefined_in_some_resample_has_a_value_but_no_bounds():
    # The denominators are 0 and 1: their mean is 0.5, but a quarter of the resamples draw the 0 twice.
    top, bottom = values([1, 1], "ab"), values([0, 1], "ab")
    score = statistics.paired(
        lambda means: statistics.ratio(means[..., 0], means[..., 1], 0.02), [top, bottom], BOOTSTRAP
    )
    assert score == Score(2.0, None, None, 2, 0)


def test_equivalence_needs_the_whole_interval_within_the_margin():
    assert statistics.equivalent(Score(0.0, -0.05, 0.05, 9, 0), 0.05) is True
    assert statistics.equivalent(Score(0.0, -0.06, 0.04, 9, 0), 0.05) is False
    assert statistics.equivalent(Score(0.0, -0.04, 0.06, 9, 0), 0.05) is False
    assert statistics.equivalent(Score(0.0, None, None, 9, 0), 0.05) is None


def test_the_kolmogorov_smirnov_example():
    # Just above 0.4 stand 2 of 4 numbers of the first sample and none of the second: D = 2/4. Of the C(8, 4)
    # = 70 orderings 2·(C(8, 2) − C(8, 0)) = 54 have a gap of at least 2/4: p = 54/70.
    found = statistics.kolmogorov_smirnov(np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.5, 0.7, 0.9, 1.1]))
    assert found.statistic == 0.5
    assert found.p == pytest.approx(54 / 70)
    assert found.exact


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(-9, 9), min_size=n, max_size=n).map(np.array)] * 2)
    )
)
def test_the_exact_p_of_equal_sides_is_the_share_of_all_lattice_paths(pair):
    first, second = pair
    found = statistics.kolmogorov_smirnov(first, second)
    steps, n = round(found.statistic * len(first)), len(first)
    assert found.statistic == ks_2samp(first, second).statistic
    # Reflection: of the C(2n, n) paths those that reach ±h number 2·Σ (−1)^(i+1) C(2n, n − i·h), in whole numbers.
    leaving = 2 * sum((-1) ** (i + 1) * math.comb(2 * n, n - i * steps) for i in range(1, n // max(steps, 1) + 1))
    assert found.p == (pytest.approx(leaving / math.comb(2 * n, n)) if steps else 1.0)


@pytest.mark.parametrize("n", [40, 200, 400])
def test_disjoint_samples_have_the_smallest_attainable_p(n):
    # Only 2 of the C(2n, n) orderings separate the samples completely.
    found = statistics.kolmogorov_smirnov(np.arange(n), np.arange(n) + 2.0 * n)
    assert found.statistic == 1.0
    assert found.p == pytest.approx(2 / math.comb(2 * n, n), rel=1e-9)


def test_a_large_sample_is_tested_asymptotically_and_says_so():
    large = np.linspace(0, 1, 10_001)
    assert not statistics.kolmogorov_smirnov(large, large).exact


@given(samples)
def test_kolmogorov_smirnov_is_unchanged_by_the_reciprocal_and_one_for_a_sample_with_itself(pair):
    first, second = np.exp(pair[0]), np.exp(pair[1])
    straight, reciprocal = (statistics.kolmogorov_smirnov(*both) for both in ((first, second), (1 / first, 1 / second)))
    assert straight.p == pytest.approx(reciprocal.p)
    assert statistics.kolmogorov_smirnov(first, first).p == 1.0


@given(samples)
def test_the_distance_is_the_mean_gap_between_sorted_samples(pair):
    first, second = pair
    distance, _ = statistics.cluster_permutation(values(first), values(second), samples=1, seed=0)
    assert distance == pytest.approx(np.abs(np.sort(first) - np.sort(second)).mean(), abs=1e-9)


def test_the_permutation_p_of_identical_samples_is_one():
    same = values(np.linspace(0, 1, 12), authors(4, 3))
    assert statistics.cluster_permutation(same, same, samples=100, seed=0) == (0.0, 1.0)


def test_the_permutation_p_agrees_with_all_label_swaps():
    generator = np.random.default_rng(3)
    first, second, owners = (
        generator.normal(0.6, 1, 15),
        generator.normal(0, 1, 15),
        np.repeat(np.arange(5), 3),
    )
    distances = []
    for swaps in itertools.product([False, True], repeat=5):
        swapped = np.array(swaps)[owners]
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        distances.append(np.abs(np.sort(one) - np.sort(other)).mean())
    exact = np.mean(np.array(distances) >= distances[0] - 1e-12)  # over all 2^5 swaps, the first of which is none
    owner_names = [str(owner) for owner in owners]
    _, p = statistics.cluster_permutation(values(first, owner_names), values(second, owner_names), samples=4000, seed=0)
    assert p == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 4000))


def test_the_permutation_test_holds_its_level_on_clustered_questions_and_finds_a_shift():
    generator, rejected, found = np.random.default_rng(0), 0, 0
    for _ in range(100):
        one, other = (values(clustered(generator, 20, 10, share=0.3), authors(20, 10)) for _ in range(2))
        shifted = values(other.numbers + 1.0, other.clusters)
        rejected += statistics.cluster_permutation(one, other, samples=99, seed=0)[1] <= 0.05
        found += statistics.cluster_permutation(one, shifted, samples=99, seed=0)[1] <= 0.05
    assert rejected <= 5 + 4 * 2.2  # 5 % of 100, with standard deviation 2.2
    assert found >= 90


def test_the_permutation_test_does_not_depend_on_the_order_of_clusters():
    generator = np.random.default_rng(0)
    first, second, order = generator.random(20), generator.random(20) + 0.2, generator.permutation(20)
    owners = np.array(authors(5, 4))
    straight = statistics.cluster_permutation(values(first, owners), values(second, owners), 200, seed=0)
    shuffled = statistics.cluster_permutation(
        values(first[order], owners[order]), values(second[order], owners[order]), 200, seed=0
    )
    assert straight == pytest.approx(shuffled, rel=1e-12)


def test_questions_that_one_model_could_not_be_scored_on_do_not_enter_the_permutation_test():
    both = statistics.cluster_permutation(values([1, 2, NAN]), values([1, 4, 9]), samples=10, seed=0)
    assert both == statistics.cluster_permutation(values([1, 2]), values([1, 4]), samples=10, seed=0)
