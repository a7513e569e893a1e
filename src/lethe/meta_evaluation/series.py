"""One number along several runs: MUSE's scalability and sustainability.

*Scalability* is what happens when more is to be forgotten at once: runs on growing forget sets, each from the target.
*Sustainability* is what happens when requests come one after another: runs that each begin where the last one ended.
Both follow one score from run to run, usually how well the rest is still known; flat is good (Shi et al., 2024,
arXiv:2407.06460, who draw the curves and sum them up in no number).
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lethe.config import nearest
from lethe.errors import ArtifactError
from lethe.meta_evaluation.documents import Document, Name


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


def scalability(runs: Sequence[Document], sizes: Sequence[int], condition: str, score: Name) -> Series:
    """A score against the size of the forget set (any unit, at least 1), smallest first.

    Raises ArtifactError when a file has no such score, or when the sizes are not different ones, one for each run.
    """
    if len(sizes) != len(runs) or len(set(sizes)) < len(sizes) or min(sizes) < 1:
        raise ArtifactError(
            f"sizes: expected {len(runs)} different ones of at least 1, one for each file, found "
            f"{', '.join(map(str, sizes))}; give them in the order of the files."
        )
    by_size = sorted(zip(sizes, runs, strict=True), key=lambda pair: pair[0])
    return _series([_point(size, run, condition, score) for size, run in by_size], np.log2(sorted(sizes)))


def sustainability(runs: Sequence[Document], condition: str, score: Name) -> Series:
    """A score against the number of the request (1, 2, …), from runs in the order of the requests.

    Raises ArtifactError when a file has no such score.
    """
    points = [_point(place, run, condition, score) for place, run in enumerate(runs, start=1)]
    return _series(points, np.arange(len(points), dtype=np.float64))


def _point(place: int, run: Document, condition: str, score: Name) -> Point:
    found: Any = run.conditions
    for key in (condition, *score):
        if key not in found:
            wanted = ".".join((condition, *score))
            raise ArtifactError(f"{run.path}: no {key!r} on the way to {wanted}.{nearest(key, found)}")
        found = found[key]
    return Point(place, found["value"], found.get("low"), found.get("high"))


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
