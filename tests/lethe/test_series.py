import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import series
from lethe.errors import ArtifactError

WHERE = ("none", "retain", "rouge")


def file(value):
    leaf = {"value": value, "low": value, "high": value, "n": 4, "unscored": 0}
    return {"model": "npo-0", "conditions": {"none": {"retain": {"rouge": leaf}}}}


def test_a_score_against_the_size_of_the_forget_set():
    # From 1 to 4 are two doublings, in which 0.8 falls to 0.4: −0.2 a doubling. The largest fall is 0.3.
    found = series.scalability({4: file(0.4), 1: file(0.8), 2: file(0.7)}, *WHERE)
    assert [point.place for point in found.points] == [1, 2, 4]
    assert (found.change, found.slope, found.largest_drop) == pytest.approx((-0.4, -0.2, 0.3))


def test_a_score_along_requests():
    # Places 0, 1, 2 about their mean: −1, 0, 1; slope (−1·0.9 + 1·0.3) / 2 = −0.3.
    found = series.sustainability([file(0.9), file(0.9), file(0.3)], *WHERE)
    assert [point.place for point in found.points] == [1, 2, 3]
    assert (found.change, found.slope, found.largest_drop) == pytest.approx((-0.6, -0.3, 0.6))


def test_what_only_rises_never_drops():
    assert series.sustainability([file(0.1), file(0.2)], *WHERE).largest_drop == 0.0


@pytest.mark.parametrize("files", [[], [file(0.5)], [file(0.5), file(None), file(0.5)]])
def test_with_a_missing_score_or_less_than_two_runs_nothing_is_said_about_the_course(files):
    found = series.sustainability(files, *WHERE)
    assert (found.change, found.slope, found.largest_drop) == (None, None, None)
    assert len(found.points) == len(files)


@pytest.mark.parametrize(("where", "name"), [(("int8", *WHERE[1:]), "int8"), (("none", "retain", "x"), "x")])
def test_a_score_that_is_not_in_the_file_is_named(where, name):
    with pytest.raises(ArtifactError, match=f"scores of npo-0: no '{name}' on the way to"):
        series.sustainability([file(0.5), file(0.5)], *where)


def test_a_forget_set_has_a_size():
    with pytest.raises(ValueError, match="at least size 1, found 0"):
        series.scalability({0: file(0.5), 1: file(0.5)}, *WHERE)


@given(st.floats(-1, 1), st.floats(0, 1), st.integers(2, 6))
def test_the_slope_of_a_line_is_its_slope(slope, start, runs):
    lines = [file(start + slope * place) for place in range(runs)]
    assert series.sustainability(lines, *WHERE).slope == pytest.approx(slope, abs=1e-9)
    doubled = {2**place: line for place, line in enumerate(lines)}
    found = series.scalability(doubled, *WHERE)
    assert found.slope == pytest.approx(slope, abs=1e-9)
    assert math.isclose(found.change, slope * (runs - 1), abs_tol=1e-9)
