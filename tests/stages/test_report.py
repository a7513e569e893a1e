"""The door of the report, as DVC opens it."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lethe import artifacts
from lethe.reporting import tables
from tests import experiment

ROOT = Path(__file__).parents[2]


def write_params(**changes: object) -> None:
    params = {
        "grid": experiment.GRID,
        "attacks": {"none": {}, "quantization": {"skip": [], "schemes": experiment.SCHEMES}},
        "score": {"bootstrap": {"confidence": 0.95}, "gates": {"largest_excess": 0.1}},
        "report": {"num_sample_answers": 10},
    }
    YAML(typ="safe").dump(params | changes, Path("params.yaml"))


def open_door(hash_seed: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": hash_seed, "PATH": ""}
    return subprocess.run(
        [sys.executable, "-m", "stages.report"], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_two_processes_write_the_same_bytes() -> None:
    experiment.write_experiment()
    write_params()
    hashes = []
    for hash_seed in ("1", "2"):
        assert open_door(hash_seed).returncode == 0
        hashes.append((artifacts.sha256(artifacts.REPORT), artifacts.sha256(artifacts.PLOTS)))
    assert hashes[0] == hashes[1]
    assert sorted(path.name for path in artifacts.PLOTS.iterdir()) == [
        "bits.json",
        "curves.json",
        "tradeoff.json",
    ]
    expected = tables.as_records(tables.summary(experiment.evidence()))
    assert artifacts.read_json(artifacts.REPORT_TABLE) == expected


def test_a_missing_section_is_one_line_and_leaves_an_earlier_report_alone() -> None:
    artifacts.write_text(artifacts.REPORT_PAGE, "earlier")
    write_params(report={})
    done = open_door("0")
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: report.num_sample_answers: missing; give it a value.\n"
    assert artifacts.REPORT_PAGE.read_text() == "earlier"
