"""A run has the workspace to itself, and its overrides are gone from ``params.yaml`` when it ends.

DVC reads parameters from the file alone, so an override has to stand there while the stages run. The file as
it was is kept beside DVC's own temporary files, and put back byte for byte when the run ends, or, after a
crash, when the next one starts.
"""

import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvc.utils.hydra import apply_overrides

from flows.graph import dvc_errors
from lethe import artifacts
from lethe.config import PARAMS
from lethe.errors import ConfigError, LetheError

TEMPORARY = Path(".dvc/tmp")  # DVC keeps it out of git
LOCK = TEMPORARY / "lethe-pipeline.lock"
BEFORE = TEMPORARY / "params-before-the-run.yaml"
DURING = TEMPORARY / "params-during-the-run.yaml"

logger = logging.getLogger(__name__)


class WorkspaceBusyError(LetheError):
    """Another run of the pipeline works in this checkout."""


def requested(recipes: list[str] | None, data: str | None, overrides: list[str] | None) -> list[str]:
    """The parameters of a run as overrides of DVC; those given last win."""
    grid = [f"grid.recipes={json.dumps(recipes)}"] if recipes is not None else []
    source = [f"data={json.dumps(data)}"] if data is not None else []
    return [*grid, *source, *(overrides or [])]


@contextlib.contextmanager
def overridden(overrides: Sequence[str]) -> Iterator[None]:
    """Hold the workspace, with overrides as DVC takes them (``recipes.npo.beta=0.2``) in ``params.yaml``.

    Raises ConfigError for an override that DVC refuses and WorkspaceBusyError when another run is under way.
    """
    with _held():
        put_back()
        try:
            if overrides:
                _apply(overrides)
            yield
        finally:
            put_back()


def put_back() -> None:
    """Make ``params.yaml`` what it was before a run changed it; an edit made meanwhile stays and is told."""
    if BEFORE.exists():
        _restore()
    BEFORE.unlink(missing_ok=True)
    DURING.unlink(missing_ok=True)


def _restore() -> None:
    now, before = PARAMS.read_bytes(), BEFORE.read_bytes()
    if now == DURING.read_bytes():
        _replace(PARAMS, BEFORE)
    elif now != before:
        kept = BEFORE.with_name("params-before-the-edit.yaml")
        shutil.copyfile(BEFORE, kept)
        logger.warning("%s was edited during a run and keeps its overrides; before: %s", PARAMS, kept)


def _apply(overrides: Sequence[str]) -> None:
    shutil.copyfile(PARAMS, DURING)  # a refused override never touches the original
    with dvc_errors():
        apply_overrides(DURING, list(overrides))
    _replace(BEFORE, PARAMS)
    _replace(PARAMS, DURING)


def _replace(path: Path, source: Path) -> None:
    with artifacts.replacing(path) as temporary:
        shutil.copyfile(source, temporary)
        shutil.copymode(path if path.exists() else source, temporary)


@contextlib.contextmanager
def _held() -> Iterator[None]:
    if not TEMPORARY.parent.is_dir():
        raise ConfigError(f"{TEMPORARY.parent}: no such folder; run from the root of the repository.")
    TEMPORARY.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it when the process ends
        except BlockingIOError:
            raise WorkspaceBusyError("another run of the pipeline works here; wait until it ends.") from None
        yield
