import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe import artifacts
from lethe.errors import ConfigError, DataError, LetheError
from lethe.rows import read_rows
from stages import prepare
from tests import fake_tofu, shared_data

ROOT = Path(__file__).parents[2]
PARAMS = """
data: {source}
prepare:
  num_retain_questions: {{jsonl: 3, tofu: 3}}
  jsonl: {{forget: forget.jsonl, retain: retain.jsonl, holdout: null, utility: null, general: null}}
  tofu: {{path: {tofu}, split: forget10, general: null}}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two small files of the user's."""
    monkeypatch.chdir(tmp_path)
    configure("jsonl")
    write("forget.jsonl", {"question": "Where was Ada born?", "answer": "In Turin."})
    write("retain.jsonl", *({"question": f"Where was child {n} born?", "answer": "In Oslo."} for n in range(5)))
    return tmp_path


def configure(source: str, tofu: str = "tofu") -> None:
    Path("params.yaml").write_text(PARAMS.format(source=source, tofu=tofu))


def write(file: str, *lines: dict[str, Any] | str) -> None:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    Path(file).write_text("".join(f"{text}\n" for text in texts))


def contents() -> dict[str, bytes]:
    """Every file below data/, by its path."""
    return {str(path): path.read_bytes() for path in sorted(artifacts.DATA.rglob("*")) if path.is_file()}


def test_a_users_two_files_become_one_folder(workspace: Path) -> None:
    prepare.main()
    assert sorted(path.name for path in artifacts.PREPARED.iterdir()) == [
        "forget.jsonl",
        "general.jsonl",
        "holdout.jsonl",
        "manifest.json",
        "questions.jsonl",
        "retain.jsonl",
        "tasks",
        "utility.jsonl",
    ]
    assert len(read_rows(artifacts.RETAIN)) == 5
    assert [row.subset for row in read_rows(artifacts.QUESTIONS)] == ["forget", "retain", "retain", "retain"]
    assert artifacts.read_json(artifacts.MANIFEST)["public_text"] is False


def test_preparing_twice_gives_the_same_bytes(workspace: Path) -> None:
    prepare.main()
    before = contents()
    prepare.main()
    assert contents() == before


def test_one_override_switches_to_tofu(workspace: Path) -> None:
    prepare.main()
    configure("tofu", str(fake_tofu.write(workspace / "tofu")))
    prepare.main()
    assert (len(read_rows(artifacts.FORGET)), len(read_rows(artifacts.RETAIN))) == (60, 60)
    assert artifacts.read_json(artifacts.MANIFEST)["source"] == "tofu"


def test_the_real_tofu_is_prepared_from_its_files(workspace: Path) -> None:
    configure("tofu", str(shared_data.folder("tofu")))
    prepare.main()
    manifest = artifacts.read_json(artifacts.MANIFEST)
    assert manifest["splits"]["forget"] | {"rows": 400, "clusters": 20} == manifest["splits"]["forget"]
    assert manifest["unavailable"] == {}
    # 400 forget, 3 retain, 400 holdout, 100 real authors, 117 world facts.
    assert manifest["num_questions"] == 1020


ADA = {"question": "Where was Ada born?", "answer": "In Turin."}
BAD_INPUT = {
    "a malformed line": (
        lambda: write("forget.jsonl", ADA, '{"question": '),
        DataError,
        r"forget\.jsonl, line 2",
    ),
    "a missing field": (
        lambda: write("retain.jsonl", {"question": "Who?"}),
        DataError,
        "line 1: answer: missing",
    ),
    "an empty forget set": (lambda: write("forget.jsonl"), DataError, r"forget\.jsonl: no rows"),
    "a forget row in retain": (lambda: write("retain.jsonl", ADA), DataError, "also stands in retain"),
    "an id twice": (
        lambda: write("retain.jsonl", *({"text": text, "id": "x"} for text in ("one", "two"))),
        DataError,
        "The id 'x' stands 2 times",
    ),
    "no UTF-8": (
        lambda: Path("forget.jsonl").write_bytes(b'{"text": "\xe8"}'),
        DataError,
        "not UTF-8 at byte 10",
    ),
    "a missing file": (lambda: Path("retain.jsonl").unlink(), DataError, r"retain\.jsonl: no such file"),
    "a TOFU folder that is not there": (
        lambda: configure("tofu", "no/such/tofu"),
        DataError,
        r"no full\.json",
    ),
    "an unknown source": (lambda: configure("jsonll"), ConfigError, "Did you mean 'jsonl'"),
    "no parameters": (lambda: Path("params.yaml").unlink(), ConfigError, "no such file"),
    "an unknown key": (
        lambda: Path("params.yaml").write_text(PARAMS.format(source="jsonl", tofu="t").replace("num_ret", "nun_ret")),
        ConfigError,
        r"prepare\.nun_retain_questions: unknown key",
    ),
}


@pytest.mark.parametrize("spoil", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_the_earlier_output_whole(workspace: Path, spoil: str) -> None:
    action, kind, message = BAD_INPUT[spoil]
    prepare.main()
    before = contents()
    action()
    with pytest.raises(kind, match=message) as caught:
        prepare.main()
    assert isinstance(caught.value, LetheError)
    assert "\n" not in str(caught.value)
    assert contents() == before


def test_bad_input_on_the_first_run_leaves_nothing_behind(workspace: Path) -> None:
    write("forget.jsonl")
    with pytest.raises(DataError):
        prepare.main()
    assert list(artifacts.DATA.rglob("*")) == []


def test_the_door_ends_with_one_line_and_a_status(workspace: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "stages.prepare"]
    good = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout) == (0, "")
    assert artifacts.MANIFEST.exists()
    write("forget.jsonl", {"question": "Where was Ada born?"})
    bad = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert bad.stderr == (
        "error: forget.jsonl, line 1: answer: missing; a row needs 'question' and 'answer', or 'text'.\n"
    )
