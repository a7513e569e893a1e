"""Where the public data sets lie that some tests use; they are never part of the repository."""

import os
from pathlib import Path

import pytest


def folder(name: str) -> Path:
    """A folder of LETHE_SHARED_DATA (unset: ``../shared/data``); skips the test when it is not there."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("LETHE_SHARED_DATA", default)) / name
    if not path.is_dir():
        pytest.skip(f"needs the public data set {name!r}; set LETHE_SHARED_DATA to the folder that holds it")
    return path
