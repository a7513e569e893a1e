"""What a tracking run shows of a finished cell, read from files before any server is asked. No mlflow here.

No text of the data is taken: parameters, numbers, hashes and verdicts only. The summary run of a grid carries
the report, which shows sample answers of public sources alone.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lethe import artifacts, ledger
from lethe.interviews import UNATTACKED
from lethe.ledger import Cell, Entry

SUMMARY = "grid"
_REPORT = "report"
_NO_CLAIM = "none"  # the level of a verdict that carries no claim


@dataclass(frozen=True)
class Run:
    """One run of the tracking store; ``curve`` holds pairs (step, numbers), ``datasets`` the md5 by path."""

    name: str
    key: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def of_cell(cell: Cell) -> Run:
    """The run of a finished cell. Raises ArtifactError when one of its files is missing or damaged."""
    scores = _read(cell, artifacts.scores(cell.name)) or {}
    numbers, words, missing = _sorted_out(_read(cell, artifacts.metrics(cell.name)))
    capabilities, _, untested = _sorted_out(_read(cell, artifacts.capabilities(cell.name)), "capabilities")
    tags = {
        "model": cell.name,
        "recipe": cell.recipe or "control",
        **words,
        **_verdict(scores),
        **{f"md5.{path}": md5 for path, md5 in {**cell.inputs, **cell.outputs}.items()},
    }
    if missing or untested:  # missing is not zero: such a metric has no number, only its name here
        tags["missing"] = ", ".join([*missing, *untested])
    return Run(
        name=cell.name,
        key=cell.key,
        tags=tags,
        params=_params(cell),
        metrics={**numbers, **_unattacked(scores), **capabilities},
        curve=_curve(_read(cell, artifacts.curve(cell.name)) or []),
        datasets={path: md5 for path, md5 in cell.inputs.items() if path.startswith(artifacts.PREPARED.as_posix())},
        files=(artifacts.scores(cell.name),) if scores else (),
    )


def of_grid(cells: list[Cell], lock: dict[str, Entry]) -> Run | None:
    """The summary run of a grid whose cells are all finished; None while there is no report."""
    files = (artifacts.REPORT_PAGE, artifacts.REPORT_TABLE)
    if _REPORT not in lock or not all(path.is_file() for path in files):
        return None
    contents = {"cells": sorted(cell.key for cell in cells), _REPORT: lock[_REPORT]}
    tags = {f"md5.{path}": md5 for path, md5 in ledger.hashes(lock[_REPORT], "outs").items()}
    return Run(name=SUMMARY, key=ledger.key(contents), tags=tags, files=files)


def _read(cell: Cell, path: Path) -> Any:
    # Only what dvc.lock lists belongs to the cell: a file without an entry may be left from another run.
    return artifacts.read_json(path) if path.as_posix() in cell.outputs else None


def _params(cell: Cell) -> dict[str, str]:
    if cell.recipe is not None:
        values = artifacts.read_json(artifacts.recipe(cell.recipe))
        return {name: _text(value) for name, value in _leaves(values)}
    files: dict[str, Any] = cell.training.get("params", {})
    return {name: _text(value) for values in files.values() for name, value in _leaves(values)}


def _verdict(scores: dict[str, Any]) -> dict[str, str]:
    outcome = {True: "passed", False: "failed", None: "not tested"}
    tags = {f"gate.{gate['id']}": outcome[gate["passed"]] for gate in scores.get("gates") or []}
    if verdict := scores.get("verdict"):
        claim = "" if verdict["level"] == _NO_CLAIM else f"{verdict['level']}: "
        tags["verdict"] = f"{claim}{verdict['text']}"
    return tags


def _unattacked(scores: dict[str, Any]) -> dict[str, float]:
    """Every score in full precision, as ``split/metric``: MLflow groups names by what stands before the slash."""
    splits = scores.get("conditions", {}).get(UNATTACKED, {})
    leaves = {f"{split}/{name}": leaf["value"] for split, found in splits.items() for name, leaf in found.items()}
    return _numbers(leaves)


def _curve(rows: list[dict[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    curve = [(row["step"], _numbers(row)) for row in rows]
    return [(step, {f"curve.{name}": numbers[name] for name in numbers if name != "step"}) for step, numbers in curve]


def _sorted_out(values: Any, prefix: str = "") -> tuple[dict[str, float], dict[str, str], list[str]]:
    """Numbers, words and the names of what is missing."""
    leaves = dict(_leaves(values or {}, prefix))
    words = {name: value for name, value in leaves.items() if isinstance(value, str)}
    return _numbers(leaves), words, [name for name, value in leaves.items() if value is None]


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        value = dict(enumerate(value))  # several wrappers of a recipe
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{prefix}.{name}" if prefix else str(name))


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
