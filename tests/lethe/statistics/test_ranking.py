import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe import statistics
from lethe.statistics import bootstrap, ranking
from tests.synthetic_records import BOOTSTRAP, values

few_levels = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=15)  # with many ties
rates = st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5, 1.0])


def written_out(members, non_members):
    """The AUC of every possible resample, each cluster repeated as often as it was drawn."""
    sides = []
    for side in (members, non_members):
        clusters, names = np.array(side.clusters), sorted(set(side.clusters))
        draws = itertools.product(names, repeat=len(names))
        sides.append([np.concatenate([side.numbers[clusters == name] for name in drawn]) for drawn in draws])
    return np.array([statistics.auc(*pair) for pair in itertools.product(*sides)])


def test_the_auc_of_a_published_example():
    # Losses 1, 1.2, 2 of members and 1.5, 2.5, 3 of non-members; the loss of 2 is above that of 1.5: 8 of 9 pairs.
    assert statistics.auc(-np.array([1, 1.2, 2]), -np.array([1.5, 2.5, 3])) == pytest.approx(8 / 9)
    # 1.4 is below all three, 2.2 and 2.9 are above 1.5, and 2.9 above 2.5 as well: 3 + 2 + 1 = 6 of 9.
    assert statistics.auc(-np.array([1.4, 2.2, 2.9]), -np.array([1.5, 2.5, 3])) == pytest.approx(6 / 9)


@given(few_levels, few_levels)
def test_the_auc_is_the_share_of_pairs_with_a_tie_as_a_half(members, non_members):
    pairs = [(one > other) + (one == other) / 2 for one in members for other in non_members]
    assert statistics.auc(np.array(members), np.array(non_members)) == pytest.approx(np.mean(pairs))


@given(few_levels, few_levels)
def test_members_and_non_members_change_places_and_only_the_order_counts(members, non_members):
    first, second = np.array(members), np.array(non_members)
    found = statistics.auc(first, second)
    assert statistics.auc(second, first) == pytest.approx(1 - found)
    assert statistics.auc(np.exp(first), np.exp(second)) == found


def test_shuffled_labels_cannot_be_told():
    n, generator = 100, np.random.default_rng(0)
    error = math.sqrt((2 * n + 1) / (12 * n * n))  # of the null hypothesis: 0.041
    labels = [generator.permutation(2 * n) for _ in range(1000)]
    away = np.array([statistics.auc(scores[:n], scores[n:]) - 0.5 for scores in labels]) / error
    # Three standard errors are passed by chance 2.7 times in 1000, by 8 or more of them once in 200 tries.
    assert (np.abs(away) < 3).mean() > 0.992
    # The error is that of the law, no larger one: one is passed by 31.7 %, ± 1.5 %.
    assert 0.27 < (np.abs(away) > 1).mean() < 0.36


def test_an_empty_side_is_missing():
    some, nothing = np.array([1.0]), np.array([])
    for pair in ((some, nothing), (nothing, some)):
        assert math.isnan(statistics.auc(*pair))
        assert math.isnan(statistics.tpr_at_fpr(*pair, 0.01))


def test_the_true_positive_rate_at_few_false_alarms():
    non_members = np.arange(100.0)
    # One of a hundred may be taken for a member: the threshold stands above 98.
    assert statistics.tpr_at_fpr(np.array([98.5, 99.5, 50.0, 98.0]), non_members, 0.01) == 0.5
    # Of fifty none may: above 49.
    assert statistics.tpr_at_fpr(np.array([48.5, 49.5, 50.0, 49.0]), non_members[:50], 0.01) == 0.5


@given(few_levels, few_levels, rates)
def test_no_threshold_with_so_few_false_alarms_finds_more(members, non_members, rate):
    first, second = np.array(members), np.array(non_members)
    thresholds = [*first, *second, np.inf]
    allowed = [(first >= cut).mean() for cut in thresholds if (second >= cut).mean() <= rate]
    assert statistics.tpr_at_fpr(first, second, rate) == max(allowed)


@pytest.mark.parametrize("few", [0, 1 << 12])
def test_resampling_is_writing_out_the_clusters_that_were_drawn(few, monkeypatch):
    monkeypatch.setattr(ranking, "_FEW", few)
    generator = np.random.default_rng(1)
    members = values(generator.integers(0, 6, 7), ["a", "a", "b", "c", "c", "c", "c"])
    non_members = values(generator.integers(0, 6, 6), ["a", "b", "b", "b", "c", "c"], split="holdout")
    found = statistics.resampled_aucs(members, non_members, BOOTSTRAP)
    every = written_out(members, non_members)  # 3³ · 3³, all equally likely
    assert set(found.round(9)) <= set(every.round(9))
    assert abs(found.mean() - every.mean()) < 4 * every.std() / math.sqrt(len(found))
    assert found.std() == pytest.approx(every.std(), rel=4 / math.sqrt(2 * len(found)))


@given(
    st.lists(st.integers(-3, 3), min_size=4, max_size=9), st.lists(st.integers(-3, 3), min_size=4, max_size=9), rates
)
@settings(max_examples=25)
def test_the_rate_of_a_resample_is_that_of_the_clusters_that_were_drawn(members, non_members, rate):
    sides = [values(side, [f"a{n % 3}" for n in range(len(side))], split) for split, side in
             (("forget", members), ("holdout", non_members))]  # fmt: skip
    found = statistics.resampled_tprs(*sides, rate, BOOTSTRAP)
    drawn = [bootstrap.draws(side.split, 3, BOOTSTRAP.samples, BOOTSTRAP.seed) for side in sides]
    for sample in range(0, BOOTSTRAP.samples, 40):
        written_out = [
            np.repeat(side.numbers, counts[sample][np.arange(len(side.ids)) % 3])
            for side, counts in zip(sides, drawn, strict=True)
        ]
        assert found[sample] == pytest.approx(statistics.tpr_at_fpr(*written_out, rate))


@given(few_levels, few_levels, rates)
def test_without_a_choice_of_clusters_the_rate_of_every_resample_is_the_rate(members, non_members, rate):
    sides = values(members, ["a"] * len(members)), values(non_members, ["b"] * len(non_members), split="holdout")
    expected = statistics.tpr_at_fpr(np.array(members), np.array(non_members), rate)
    assert set(statistics.resampled_tprs(*sides, rate, BOOTSTRAP)) == {expected}


def test_a_resample_without_a_scored_question_on_a_side_has_no_rate():
    some, gap = values([1.0, 2.0], ["a", "b"]), values([1.0, np.nan], ["c", "d"], split="holdout")
    for pair, empty in (((some, gap), "holdout"), ((gap, some), "holdout")):
        drawn = bootstrap.draws(empty, 2, BOOTSTRAP.samples, BOOTSTRAP.seed)[:, 0]
        for rate in (0.05, 1.0):
            found = statistics.resampled_tprs(*pair, rate, BOOTSTRAP)
            np.testing.assert_array_equal(np.isnan(found), drawn == 0)
            assert (drawn == 0).any()


@pytest.mark.parametrize("block", [8, 1 << 22])
def test_both_ways_of_counting_give_the_same_however_large_the_blocks(block, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", block)
    generator = np.random.default_rng(2)
    numbers = generator.integers(0, 9, (2, 40)).astype(float)
    numbers[0, 3] = np.nan
    members = values(numbers[0], [f"a{i % 8}" for i in range(40)], split=f"blocks of {block}")
    non_members = values(numbers[1], split="holdout")
    by_clusters = statistics.resampled_aucs(members, non_members, BOOTSTRAP)
    monkeypatch.setattr(ranking, "_FEW", 0)
    np.testing.assert_allclose(statistics.resampled_aucs(members, non_members, BOOTSTRAP), by_clusters, rtol=1e-12)


def test_two_models_are_drawn_alike():
    generator = np.random.default_rng(3)
    numbers, owners = generator.normal(size=(3, 40)), [f"a{i // 4}" for i in range(40)]
    other = values(numbers[2], owners, split="holdout")
    first, same = (statistics.resampled_aucs(values(numbers[0], owners), other, BOOTSTRAP) for _ in range(2))
    np.testing.assert_array_equal(first, same)
    moved = statistics.resampled_aucs(values(numbers[0] + 0.1, owners), other, BOOTSTRAP)
    assert (moved >= first).all()


def test_the_interval_covers_the_true_auc():
    generator, covered = np.random.default_rng(4), 0
    owners = [f"a{i // 5}" for i in range(100)]
    for _ in range(200):
        sides = [np.repeat(generator.normal(size=20), 5) + generator.normal(size=100) for _ in range(2)]
        drawn = statistics.resampled_aucs(values(sides[0], owners), values(sides[1], owners, "holdout"), BOOTSTRAP)
        low, high = np.quantile(drawn, [0.025, 0.975])
        covered += low <= 0.5 <= high
    # 95 % of 200 is 190 with standard deviation 3.1; percentile intervals of 20 clusters cover about 93 %.
    assert 190 - 5 * 3.1 < covered <= 200
