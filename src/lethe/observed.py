"""What was seen of the models: the joint between observations, which run models, and probes, which score.

It is to them what records are to inference and metrics: a change of a score runs no model again. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PositiveInt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lethe.config import Section
from lethe.errors import ArtifactError


class Config(Section):
    """How the models are read, whatever is looked at."""

    batch_size: PositiveInt  # answers at once; a matter of speed and memory, not of results


@dataclass(frozen=True, eq=False)
class Observed:
    """One kind of observation: its records as columns of the same length, and ``vectors`` whose rows they name.

    Each record has the ``place`` of its question among those asked, its ``id`` and ``cluster``; the module of the
    observation says what else it has. The order of the records says nothing.
    """

    columns: Mapping[str, Sequence[Any]]
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)

    def column(self, name: str) -> np.ndarray:
        """The numbers or names of a column: [records]."""
        return np.array(self.columns[name])

    def where(self, **wanted: Any) -> Observed:
        """The records whose columns have the given values."""
        hits = np.ones(len(self.columns["place"]), dtype=bool)
        for name, value in wanted.items():
            hits &= np.array([found == value for found in self.columns[name]], dtype=bool)
        return self.take(np.flatnonzero(hits).tolist())

    def take(self, order: Sequence[int]) -> Observed:
        """The records at these places, in this order."""
        return Observed({name: [found[index] for index in order] for name, found in self.columns.items()}, self.vectors)

    def grid(self, numbers: Sequence[float] | np.ndarray, *axes: str) -> np.ndarray:
        """One number a record [records], laid out along the sorted values of these columns; NaN without a record."""
        places = [np.unique(self.column(axis), return_inverse=True) for axis in axes]
        laid = np.full([len(values) for values, _ in places], np.nan)
        laid[tuple(inverse for _, inverse in places)] = numbers
        return laid

    def questions(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids and clusters of the questions, in the order in which they were asked: that of ``grid`` by ``place``."""
        asked = sorted(set(zip(*(self.columns[name] for name in ("place", "id", "cluster")), strict=True)))
        return tuple(name for _, name, _ in asked), tuple(cluster for _, _, cluster in asked)


def gathered(records: Iterable[Mapping[str, Any]], vectors: Mapping[str, np.ndarray] | None = None) -> Observed:
    """Records that all have the same fields, as columns."""
    rows = list(records)
    return Observed({name: [row[name] for row in rows] for name in (rows[0] if rows else ())}, vectors or {})


def write(folder: Path, name: str, observed: Observed) -> None:
    """Write ``name``.parquet and, where there are vectors, ``name``.safetensors; the same input, the same bytes."""
    table = pa.table({column: pa.array(found) for column, found in observed.columns.items()})
    pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    if observed.vectors:
        save_file({key: np.ascontiguousarray(found) for key, found in observed.vectors.items()}, _vectors(folder, name))


def read(folder: Path, name: str) -> Observed:
    """Read what :func:`write` wrote. Raises ArtifactError when it is missing or damaged."""
    path = folder / f"{name}.parquet"
    try:
        with pq.ParquetFile(path) as file:  # read_table would import what reads folders of files: 0.3 s
            columns = file.read().to_pydict()
        path = _vectors(folder, name)
        return Observed(columns, load_file(path) if path.exists() else {})
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run `dvc repro` to make it.") from None
    except (pa.ArrowException, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path}: not readable ({reason}); delete it and run `dvc repro`.") from None


def _vectors(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"
