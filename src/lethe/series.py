"""One number along several runs: MUSE's scalability and sustainability.

*Scalability* is what happens when more is to be forgotten at once: runs on growing forget sets, each from the target.
*Sustainability* is what happens when requests come one after another: runs that each begin where the last one ended.
Both follow one score from run to run, usually how well the rest is still known; flat is good (Shi et al., 2024,
arXiv:2407.06460, who draw the curves and sum them up in no number).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lethe.errors import ArtifactError


class Point(NamedTuple):
    """The score of one run: ``place`` is the size of its forget set, or the number of its request."""

    place: int
    value: float | None
    low: float | None
    high: float | None


class Series(NamedTuple):
    """A score along runs, in order. What rests on a missing score is None.

    ``change`` is the last score minus the first; ``slope`` the least-squares slope, for each doubling of the forget
    set or for each request; ``largest_drop`` the largest fall from one run to the next, 0 when there is none.
    """

    points: tuple[Point, ...]
    change: float | None
    slope: float | None
    largest_drop: float | None


def scalability(files: Mapping[int, Mapping[str, Any]], condition: str, split: str, metric: str) -> Series:
    """A score against the size of the forget set, from score files by size (any unit, at least 1).

    Raises ArtifactError when a file has no such score, and ValueError for a size below 1.
    """
    sizes = sorted(files)
    if sizes and sizes[0] < 1:
        raise ValueError(f"a forget set has at least size 1, found {sizes[0]}")
    points = [_point(size, files[size], condition, split, metric) for size in sizes]
    return _series(points, np.log2(sizes))


def sustainability(files: Sequence[Mapping[str, Any]], condition: str, split: str, metric: str) -> Series:
    """A score against the number of the request, from score files in the order of the requests (1, 2, …).

    Raises ArtifactError when a file has no such score.
    """
    points = [_point(place, file, condition, split, metric) for place, file in enumerate(files, start=1)]
    return _series(points, np.arange(len(points), dtype=np.float64))


def _point(place: int, file: Mapping[str, Any], condition: str, split: str, metric: str) -> Point:
    try:
        leaf = file["conditions"][condition][split][metric]
    except KeyError as error:
        raise ArtifactError(
            f"scores of {file.get('model', 'a model')}: no {error.args[0]!r} on the way to "
            f"{condition} / {split} / {metric}; score all runs with the same settings."
        ) from None
    return Point(place, leaf["value"], leaf["low"], leaf["high"])


def _series(points: Sequence[Point], places: np.ndarray) -> Series:
    values = [point.value for point in points if point.value is not None]
    if len(values) < len(points) or len(points) < 2:
        return Series(tuple(points), None, None, None)
    centred = places - places.mean()
    falls = [earlier - later for earlier, later in itertools.pairwise(values)]
    return Series(
        points=tuple(points),
        change=values[-1] - values[0],
        slope=float(centred @ np.array(values) / (centred @ centred)),
        largest_drop=max(0.0, *falls),
    )
