"""A disk that fills in the middle of the real graph, on a small file system of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lethe import artifacts
from tests.pipeline import workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOM = 8_000_000  # bytes left: enough for the prepared splits, too few for the checkpoints of a training
STAGE = "finetune@target"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 600 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a file system that is small enough to fill")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_is_one_line_and_the_stage_ends_with_the_same_bytes_once_there_is_room(disk: Path) -> None:
    root = workspace.make(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * (shutil.disk_usage(disk).free - ROOM))
    stopped = workspace.repro(root, STAGE)
    assert stopped.returncode != 0
    errors = [line for line in stopped.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "no space left on the disk; free some and run again" in errors[0]
    assert "Traceback" not in stopped.stdout + stopped.stderr
    assert not list((root / "data").rglob("*.partial"))
    assert not (root / artifacts.model("target")).exists()
    assert (root / artifacts.FORGET).read_text(encoding="utf-8")
    ballast.unlink()
    assert workspace.repro(root, STAGE).returncode == 0
    resumed = artifacts.sha256(root / artifacts.model("target"))
    assert workspace.repro(root, "--force", "--single-item", STAGE).returncode == 0
    assert artifacts.sha256(root / artifacts.model("target")) == resumed
