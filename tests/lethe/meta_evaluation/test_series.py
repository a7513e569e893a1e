import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.errors import ArtifactError
from lethe.meta_evaluation import series
from lethe.meta_evaluation.documents import Document

WHERE = ("none", ("retain", "rouge"))


def file(value):
    leaf = {"value": value, "low": value, "high": value, "n": 4, "unscored": 0}
    return Document(Path("npo-0.json"), {"none": {"retain": {"rouge": leaf}}}, {})


def test_a_score_against_the_size_of_the_forget_set():
    # From 1 to 4 are two doublings, in which 0.8 falls to 0.4: −0.2 a doubling. The largest fall is 0.3.
    found = series.scalability([file(0.4), file(0.8), file(0.7)], [4, 1, 2], *WHERE)
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


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (("int8", WHERE[1]), r"no 'int8' on the way to int8\.retain\.rouge\. Known: none\."),
        (("none", ("retian", "rouge")), r"no 'retian' on .* Did you mean 'retain'\? Known: retain\."),
        (("none", ("retain", "x")), r"no 'x' on the way to none\.retain\.x\. Known: rouge\."),
    ],
)
def test_a_score_that_is_not_in_the_file_is_named(where, message):
    with pytest.raises(ArtifactError, match=rf"^npo-0\.json: {message}$"):
        series.sustainability([file(0.5), file(0.5)], *where)


@pytest.mark.parametrize("sizes", [[0, 1], [3, 3], [1], [1, 2, 3]])
def test_every_run_has_a_size_of_its_own(sizes):
    with pytest.raises(ArtifactError, match=r"^sizes: expected 2 different ones of at least 1"):
        series.scalability([file(0.5), file(0.5)], sizes, *WHERE)


@given(st.floats(-1, 1), st.floats(0, 1), st.integers(2, 6))
def test_the_slope_of_a_line_is_its_slope(slope, start, runs):
    lines = [file(start + slope * place) for place in range(runs)]
    assert series.sustainability(lines, *WHERE).slope == pytest.approx(slope, abs=1e-9)
    found = series.scalability(lines, [2**place for place in range(runs)], *WHERE)
    assert found.slope == pytest.approx(slope, abs=1e-9)
    assert math.isclose(found.change, slope * (runs - 1), abs_tol=1e-9)
