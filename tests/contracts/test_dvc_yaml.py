"""The graph owns the cache, so it must know every file that a result depends on."""

import hashlib
import re
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from lethe import registry
from lethe.config import read_params

ROOT = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# Modules that only move values from one place to another. A docstring mended here must not re-run a week of work.
EXEMPT = {"lethe", "lethe.artifacts", "lethe.config", "lethe.doors", "lethe.errors", "lethe.registry"}

# What a door loads by name, as the graph spells it.
LOADED_BY_NAME = {
    "prepare": {"src/lethe/sources/${data}.py"},
    "resolve": {f"src/lethe/{kind}" for kind in
                ("combiners", "forget_objectives", "masks", "optimizers", "retain_objectives")},
    "infer": {"src/lethe/attacks/${item.attack}.py"},
    "infer_controls": {"src/lethe/attacks/${item.attack}.py"},
    "score": {"src/lethe/metrics"},
    "score_controls": {"src/lethe/metrics"},
    "report": {"src/lethe/reporting/templates"},
}  # fmt: skip
# Doors that run components chosen by name; what those import is code of the stage, too.
COMPONENTS_RUN = {"prepare": ("sources",), "infer": ("attacks",), "score": ("metrics",)}


def door(stage: str) -> str:
    return stage.removesuffix("_controls")


def code_of(stage: str) -> set[str]:
    """The library files that a door imports, directly or not."""
    graph = grimp.build_graph("lethe", "stages", cache_dir=None)
    modules = graph.find_upstream_modules(f"stages.{door(stage)}")
    for kind in COMPONENTS_RUN.get(door(stage), ()):
        for member in graph.find_children(f"lethe.{kind}"):
            modules |= graph.find_upstream_modules(member)
    modules -= EXEMPT
    kinds = {f"lethe.{path.name}" for path in registry.LIBRARY.iterdir() if (path / "__init__.py").exists()}
    return {f"src/{module.replace('.', '/')}.py" for module in modules if module.startswith("lethe.")} - {
        f"src/{kind.replace('.', '/')}.py" for kind in kinds
    }


def listed(stage: str) -> set[str]:
    return {dependency for dependency in STAGES[stage]["deps"] if str(dependency).startswith("src/")}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_lists_the_code_that_its_door_imports_and_no_other(stage: str) -> None:
    by_name = LOADED_BY_NAME.get(stage, set())
    # A dependency on a whole folder covers the files in it.
    folders = {entry for entry in by_name if not entry.endswith(".py")}
    imported = {file for file in code_of(stage) if not any(file.startswith(f"{folder}/") for folder in folders)}
    assert listed(stage) == imported | by_name


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_runs_and_depends_on_the_door_of_its_name(stage: str) -> None:
    assert f"stages/{door(stage)}.py" in STAGES[stage]["deps"]
    assert STAGES[stage]["cmd"].split()[:3] == ["python", "-m", f"stages.{door(stage)}"]


def test_every_door_stands_in_the_graph() -> None:
    doors = {path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__"}
    assert doors == {door(stage) for stage in STAGES}


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_a_door_is_under_forty_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


def test_every_parameter_that_a_stage_names_exists() -> None:
    params = read_params(ROOT / "params.yaml")
    names = {name for stage in STAGES.values() for name in stage.get("params", [])}
    filled = {re.sub(r"\$\{data\}", params["data"], name) for name in names if "item." not in name}
    for name in filled:
        value = params
        for key in name.split("."):
            assert key in value, f"{name} is not in params.yaml"
            value = value[key]


def test_the_base_model_in_git_is_the_one_that_the_lock_pins() -> None:
    """A fresh clone skips `pretrain` only while its lock entry fits the files: run `dvc repro pretrain` and commit."""
    lock = YAML(typ="safe").load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]["pretrain"]
    for entry in lock["deps"]:
        found = hashlib.md5((ROOT / entry["path"]).read_bytes(), usedforsecurity=False).hexdigest()
        assert entry["md5"] == found, f"{entry['path']} has changed since the base model was made"
