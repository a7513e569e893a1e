"""Scores along the models of several runs, read from their files, as one table and as one JSON document."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from lethe.errors import ArtifactError
from lethe.meta_evaluation import documents, series
from lethe.meta_evaluation.documents import Name
from lethe.meta_evaluation.series import Series

SCALABILITY, SUSTAINABILITY = "scalability", "sustainability"


class Course(NamedTuple):
    """What several runs show: scalability or sustainability, the files in the order of the points, series by score."""

    kind: str
    condition: str
    files: Sequence[Path]
    scores: Mapping[Name, Series]


def follow(files: Sequence[Path], wanted: Sequence[str], sizes: Sequence[int] | None, condition: str) -> Course:
    """Every wanted score (``split.name``) along the files: scalability where forget sets have sizes.

    Raises ArtifactError for less than two files, for one without a wanted score, for sizes that do not fit, and for
    files whose metrics were not set alike.
    """
    if len(files) < 2:
        raise ArtifactError(f"{files[0]}: one file alone is no series; give the score files of two runs or more.")
    runs, names = [documents.read(path) for path in files], [_name(text) for text in wanted]
    documents.require_same_settings(runs)
    if sizes is None:
        found = {name: series.sustainability(runs, condition, name) for name in names}
        return Course(SUSTAINABILITY, condition, files, found)
    found = {name: series.scalability(runs, sizes, condition, name) for name in names}
    return Course(SCALABILITY, condition, [path for _, path in sorted(zip(sizes, files, strict=True))], found)


def table(course: Course) -> Table:
    """One row a score, one column a run, and what the runs show together."""
    step = "doubling" if course.kind == SCALABILITY else "request"
    shown = Table(caption=f"{course.kind}, MUSE, arXiv:2407.06460; condition {course.condition}; flat is good")
    places = [point.place for point in next(iter(course.scores.values())).points]
    heads = [f"{place}" if course.kind == SCALABILITY else f"request {place}" for place in places]
    runs = [f"{head}\n{path.as_posix()}" for head, path in zip(heads, course.files, strict=True)]
    for heading in ("score", *runs, "change", f"slope\na {step}", "largest\ndrop"):
        shown.add_column(heading, no_wrap=heading == "score")
    for name, found in course.scores.items():
        numbers = [*(point.value for point in found.points), found.change, found.slope, found.largest_drop]
        shown.add_row(".".join(name), *map(_number, numbers))
    return shown


def as_json(course: Course) -> dict[str, Any]:
    """All of it, scores by split and name as in a score file, numbers to six significant digits."""
    scores: dict[str, dict[str, Any]] = {}
    for (split, name), found in course.scores.items():
        points = [_rounded(point._asdict()) for point in found.points]
        scores.setdefault(split, {})[name] = {**_rounded(found._asdict()), "points": points}
    return {
        "kind": course.kind,
        "condition": course.condition,
        "files": [path.as_posix() for path in course.files],
        "scores": scores,
    }


def _name(text: str) -> Name:
    split, dot, name = text.rpartition(".")
    if not (split and dot and name):
        raise ArtifactError(f"{text!r}: no score of a score file; give SPLIT.NAME, for example overall.model_utility.")
    return split, name


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.3f}"


def _rounded(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(f"{it:.6g}") if isinstance(it, float) else it for name, it in numbers.items()}
