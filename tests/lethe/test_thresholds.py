import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import thresholds
from lethe.errors import ConfigError, NotFiniteError
from lethe.thresholds import Threshold

SCORES = st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=60)


def threshold(kind, value):
    return Threshold(kind=kind, value=value)


def parts(values, cut):
    """The values as two tensors, cut at some place."""
    tensor = torch.tensor(values)
    return {"a": tensor[: cut % (len(values) + 1)], "b": tensor[cut % (len(values) + 1) :]}


def high(values, kind, value, cut=0):
    found = thresholds.high(parts(values, cut), threshold(kind, value))
    return torch.cat([found["a"], found["b"]]).tolist()


@given(SCORES, st.integers(0, 60), st.integers(0, 59))
def test_the_kth_smallest_is_that_of_a_sort(values, cut, rank):
    rank %= len(values)
    assert thresholds.kth_smallest(parts(values, cut).values(), rank) == sorted(torch.tensor(values).tolist())[rank]


@given(SCORES, st.integers(0, 60), st.integers(0, 100))
def test_a_percentile_is_that_of_numpy(values, cut, percent):
    array = np.array(values, dtype=np.float32).astype(np.float64)
    level = np.percentile(array, percent)
    if np.min(np.abs(array - level) + (array == level)) > 1e-6 * max(1.0, level):  # no score beside the level itself
        assert high(values, "percentile", percent, cut) == (array >= level).tolist()


@given(SCORES)
def test_percentile_zero_and_the_whole_fraction_take_everything(values):
    assert all(high(values, "percentile", 0))
    assert all(high(values, "top_fraction", 1))


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60, unique=True), st.floats(0.01, 1))
def test_a_fraction_of_different_scores_is_so_many_of_the_highest(values, fraction):
    found = high(values, "top_fraction", fraction)
    count = max(1, round(fraction * len(values)))
    assert sum(found) == count
    assert {value for value, kept in zip(values, found, strict=True) if kept} == set(sorted(values)[-count:])


def test_mean_plus_standard_deviations_of_the_population():
    # 1, 1, 1, 5: mean 2, variance (1 + 1 + 1 + 9) / 4 = 3, so the levels are 2, 3.73 and, at two, 5.46
    assert high([1, 1, 1, 5.0], "mean_plus_std", 0) == [False, False, False, True]
    assert high([1, 1, 1, 5.0], "mean_plus_std", -1) == [True] * 4
    with pytest.raises(
        ConfigError, match=r"^mask\.threshold: no score reaches 5\.464 .*; lower mask\.threshold\.value\.$"
    ):
        high([1, 1, 1, 5.0], "mean_plus_std", 2)


def test_ties_with_the_level_are_high():
    assert high([0.0, 2.0, 2.0, 2.0, 1.0], "top_fraction", 0.2) == [False, True, True, True, False]


def test_shapes_stay():
    found = thresholds.high({"w": torch.ones(2, 3), "s": torch.tensor(2.0)}, threshold("percentile", 100))
    assert found["w"].shape == (2, 3)
    assert found["s"].shape == ()
    assert found["s"].item() is True


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_an_error_that_names_the_weight(broken):
    with pytest.raises(NotFiniteError, match=r"^mask: the score of 'b' is not finite"):
        thresholds.high({"a": torch.ones(2), "b": torch.tensor([1.0, broken])}, threshold("percentile", 50))


@pytest.mark.parametrize(
    ("kind", "value"), [("percentile", -1), ("percentile", 101), ("top_fraction", 0), ("top_fraction", 1.5)]
)
def test_a_level_outside_its_range_is_refused(kind, value):
    with pytest.raises(ValueError, match=kind):
        threshold(kind, value)
