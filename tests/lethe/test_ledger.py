from pathlib import Path

import pytest
from dvc.repo import Repo

from lethe import artifacts, ledger
from lethe.errors import ArtifactError
from lethe.recipes import Grid
from tests import finished

GRID = Grid(recipes=["npo", "npo-1"], seeds=[0, 1, 10], attacks=["none"], retain_seeds=[2, 20])


@pytest.fixture(autouse=True)
def _grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished.write_grid()


def cell(name: str) -> ledger.Cell:
    return next(cell for cell in ledger.current(ledger.read()) if cell.name == name)


def test_the_cells_are_all_controls_and_every_recipe_with_every_seed():
    names = [cell.name for cell in ledger.cells({}, GRID)]
    assert names == [
        "target",
        "retain",
        "retain-2",
        "retain-20",
        "npo-0",
        "npo-1",
        "npo-10",
        "npo-1-0",
        "npo-1-1",
        "npo-1-10",
    ]


@pytest.mark.parametrize(
    ("stage", "owner"),
    [
        ("finetune@target", "target"),
        ("infer_controls@retain-quantization", "retain"),
        ("score_controls@target", "target"),
        ("finetune_retain_seeds@2", "retain-2"),
        ("infer_retain_seeds@20-none", "retain-20"),
        ("score_retain_seeds@20", "retain-20"),
        ("score_retain_seeds@3", None),  # left in the lock by an earlier grid
        ("unlearn@npo-1", "npo-1"),
        ("infer@npo-1-none", "npo-1"),
        ("infer@npo-10-none", "npo-10"),
        ("infer@npo-1-0-none", "npo-1-0"),  # also begins like the cell npo-1
        ("score@npo-1-10", "npo-1-10"),
        ("diagnose@npo-0", None),
        ("unlearn@npo-2", None),  # left in the lock by an earlier grid
        ("prepare", None),
    ],
)
def test_a_stage_belongs_to_the_cell_it_names(stage, owner):
    owners = [cell.name for cell in ledger.cells({stage: {"cmd": "x"}}, GRID) if cell.entries]
    assert owners == ([owner] if owner else [])


def test_a_key_changes_with_an_entry_of_its_own_cell_only():
    before = {cell.name: cell.key for cell in ledger.current(ledger.read())}
    stages = finished.read_lock()
    stages["unlearn@npo-0"]["cmd"] = "another command"
    finished.write_lock(stages)
    after = {cell.name: cell.key for cell in ledger.current(ledger.read())}
    assert {name for name in before if before[name] != after[name]} == {"npo-0"}


def test_a_key_does_not_depend_on_the_order_of_the_lock():
    before = cell("npo-0").key
    finished.write_lock(dict(reversed(finished.read_lock().items())))
    assert cell("npo-0").key == before


def test_a_finished_cell_has_no_gap():
    assert [ledger.gap(cell, ledger.read()) for cell in ledger.current(ledger.read())] == [None] * 4


def test_a_cell_without_scores_is_unfinished():
    stages = finished.read_lock()
    del stages["score@npo-0"]
    finished.write_lock(stages)
    assert ledger.gap(cell("npo-0"), ledger.read()) == "not all of its stages have run"


def test_a_cell_older_than_what_it_was_made_from_is_unfinished():
    stages = finished.read_lock()
    stages["prepare"]["outs"][0]["md5"] = "0" * 32
    finished.write_lock(stages)
    gap = ledger.gap(cell("npo-0"), ledger.read())
    assert gap == "unlearn@npo-0 has not seen the newest data/prepared/forget.jsonl"


@pytest.mark.parametrize("path", [artifacts.metrics("npo-0"), artifacts.recipe("npo")])
def test_a_file_that_was_touched_after_its_stage_is_not_taken_for_its_result(path):
    artifacts.write_json(path, {"forget_probability": 0.0})
    assert ledger.gap(cell("npo-0"), ledger.read()) == f"{path} is not what dvc.lock speaks of"


def test_scores_older_than_the_records_are_not_taken_for_theirs():
    answers = artifacts.records("npo-0", "none") / "answers.txt"
    artifacts.write_text(answers, "first answers")
    stages = finished.read_lock()
    stages["score@npo-0"]["deps"] = finished.hashed([artifacts.RECORDS / "npo-0"])
    finished.write_lock(stages)
    assert ledger.gap(cell("npo-0"), ledger.read()) is None
    artifacts.write_text(answers, "answers of another model")
    assert ledger.gap(cell("npo-0"), ledger.read()) == "data/records/npo-0 is not what dvc.lock speaks of"


def test_hashes_are_those_of_dvc():
    Path("folder/inner").mkdir(parents=True)
    for name in ("folder/ä b.txt", "folder/inner/2", "folder/inner-1"):
        Path(name).write_text(name)
    Path("dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one, deps: [folder, folder/inner-1], outs: [one]}}")
    Path("dvc.lock").unlink()
    with Repo.init(".", no_scm=True) as repo:
        repo.reproduce()
    entry = ledger.read()["one"]
    for path, md5 in {**ledger.hashes(entry, "deps"), **ledger.hashes(entry, "outs")}.items():
        assert ledger.dvc_md5(Path(path)) == md5
    assert ledger.dvc_md5(Path("nowhere")) is None


def test_a_missing_lock_says_what_to_run():
    Path("dvc.lock").unlink()
    with pytest.raises(ArtifactError, match=r"dvc\.lock: no such file; run `dvc repro` first\."):
        ledger.read()


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "schema: '2.0'"])
def test_a_damaged_lock_is_one_line(text):
    Path("dvc.lock").write_text(text)
    with pytest.raises(ArtifactError, match=r"git checkout dvc\.lock") as caught:
        ledger.read()
    assert "\n" not in str(caught.value)
