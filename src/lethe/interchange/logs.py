"""One evaluation log of OpenUnlearning, read and checked."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lethe.errors import DataError
from lethe.interchange import layout

Examples = dict[int, Mapping[str, Any]]  # the fields of each example, by the number of its row


@dataclass(frozen=True)
class Log:
    """The metrics of one log by their name; ``benchmark`` is TOFU or MUSE."""

    path: Path
    benchmark: str
    metrics: Mapping[str, Mapping[str, Any]]

    def name(self, names: Sequence[str]) -> str | None:
        """The first of several names that the log has."""
        return next((name for name in names if name in self.metrics), None)

    def aggregate(self, names: Sequence[str]) -> float | None:
        """The ``agg_value`` of a metric; None when it is absent, null, NaN or infinite."""
        name = self.name(names)
        if name is None:
            return None
        found = number(self.metrics[name].get("agg_value"), f"{self.path}: {name}.agg_value")
        return found if math.isfinite(found) else None

    def examples(self, names: Sequence[str], *parts: str) -> Examples | None:
        """The per-example fields of a metric in the order of the rows, None when it has none.

        ``parts`` name an inner block: the membership attacks have ``forget`` and ``holdout``.
        """
        name = self.name(names)
        if name is None:
            return None
        where, block = f"{self.path}: {name}", self.metrics[name]
        for part in parts:
            where, block = f"{where}.{part}", _block(block.get(part) or {}, f"{where}.{part}")
        found = _block(block.get("value_by_index") or {}, f"{where}.value_by_index")
        rows = {
            _row(key, where): _block(fields or {}, f"{where}.value_by_index.{key}") for key, fields in found.items()
        }
        if len(rows) < len(found):
            raise DataError(f"{where}.value_by_index: two of its keys are the same row number; {_ADVICE}.")
        return dict(sorted(rows.items())) or None


def read(path: Path) -> Log:
    """Read a ``TOFU_EVAL.json`` or ``MUSE_EVAL.json``.

    Raises DataError when it is missing, is no JSON object, is the summary instead, or holds no metric that is known.
    """
    values = _parsed(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected an object of metrics, found {type(values).__name__}; {_ADVICE}.")
    known = layout.TOFU_NAMES | layout.MUSE_NAMES | layout.SHARED_NAMES
    flat = {name: value for name, value in values.items() if name in known and isinstance(value, int | float)}
    if flat:
        raise DataError(f"{path}: {next(iter(flat))} is a bare number, as in a summary; {_ADVICE}.")
    metrics = {name: block for name, block in _flattened(values) if name in known}
    if not metrics:
        names = ", ".join(values) if len(values) < 6 else f"{len(values)} others"
        raise DataError(f"{path}: no metric of OpenUnlearning, found {names or 'nothing'}; {_ADVICE}.")
    return Log(path, _benchmark(path, metrics), metrics)


def number(value: Any, where: str) -> float:
    """A number of a log; null is NaN. Raises DataError for anything else."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: expected a number or null, found {type(value).__name__}; {_ADVICE}.")
    return float(value)


def require_field(examples: Examples, fields: Sequence[str], where: str) -> None:
    """Raise DataError when not one example has one of the fields: then the per-example values are not there."""
    if not any(field in example for example in examples.values() for field in fields):
        raise DataError(f"{where}: none of its {len(examples)} examples has {' or '.join(fields)}; {_ADVICE}.")


_ADVICE = "give the TOFU_EVAL.json or MUSE_EVAL.json that OpenUnlearning's evaluator wrote"


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except _Twice as error:
        raise DataError(f"{path}: {error.args[0]!r} stands twice in one object; {_ADVICE}.") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_ADVICE}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); {_ADVICE}.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {_ADVICE}.") from None


class _Twice(Exception):
    """A name that an object has twice: of the two, JSON silently keeps the last."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _flattened(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every metric with what it was made from; the outer one of two of a name comes last and counts."""
    blocks = {name: block for name, block in metrics.items() if isinstance(block, dict)}
    for block in blocks.values():
        inner = block.get("pre_compute")
        yield from _flattened(inner) if isinstance(inner, dict) else ()
    yield from blocks.items()


def _benchmark(path: Path, metrics: Mapping[str, Any]) -> str:
    if metrics.keys() & layout.MUSE_NAMES:
        return layout.MUSE
    if metrics.keys() & layout.TOFU_NAMES:
        return layout.TOFU
    for benchmark in (layout.TOFU, layout.MUSE):
        if path.name.startswith(benchmark):
            return benchmark
    raise DataError(f"{path}: its metrics stand in TOFU and in MUSE; name the file TOFU_EVAL.json or MUSE_EVAL.json.")


def _block(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, found {type(value).__name__}; {_ADVICE}.")
    return value


def _row(key: str, where: str) -> int:
    if not key.isdecimal():
        raise DataError(f"{where}.value_by_index: {key!r} is no row number; {_ADVICE}.")
    return int(key)
