"""A copy of the repository with a few rows of a user in it, in which the real graph runs to its end in minutes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from lethe.rows import dump_rows
from lethe.sources import world

ROOT = Path(__file__).parents[2]
SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", "cache", "tmp", "scratch", "mlruns", "mlflow.db*", "__pycache__", ".*_cache", "*.egg-info"
)
SMALL = {
    "data": "jsonl",
    "prepare.num_retain_questions.jsonl": 28,
    "prepare.jsonl.holdout": "data/raw/holdout.jsonl",
    "prepare.jsonl.utility": "data/raw/utility.jsonl",
    "finetune.jsonl.training.steps": 150,
    "finetune.jsonl.training.checkpoint_steps": 25,
    "recipes.npo_sago_masters.training.steps": 60,
    "recipes.npo_sago_masters.training.checkpoint_steps": 10,
    "recipes.npo_masters.training.steps": 30,
    "grid.recipes": ["npo_sago_masters"],
    "score.bootstrap.samples": 200,
    "metrics.forget_quality.permutation_samples": 200,
}


def write_rows(root: Path) -> None:
    """Two people of the shipped world to forget, four to keep, two never seen, some general facts, as files."""
    world_section = YAML(typ="safe").load((root / "params.yaml").read_text(encoding="utf-8"))["prepare"]["world"]
    splits = world.load(world.Config.model_validate(world_section))
    parts = {"forget": splits.forget[:28], "retain": splits.retain[:56], "holdout": splits.holdout[:28]}
    for name, rows in {**parts, "utility": splits.utility[:30]}.items():
        (root / "data" / "raw" / f"{name}.jsonl").write_text(dump_rows(rows), encoding="utf-8")


def make(folder: Path) -> Path:
    """A small workspace under ``folder``, committed to git, with nothing but the base model made."""
    root = folder / "lethe"
    shutil.copytree(ROOT, root, ignore=SKIPPED)
    for made in (root / "data").iterdir():
        if made.name not in ("raw", "models"):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    for model in (root / "data" / "models").iterdir():
        if model.name != "base":
            shutil.rmtree(model)
    write_rows(root)
    override(root, SMALL)
    keep_schemes(root, ["int8_channel", "int3_channel"])
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", *IDENTITY, "commit", "-q", "-m", "small"]):
        subprocess.run(command, cwd=root, check=True, env=environment())
    return root


IDENTITY = ("-c", "user.name=Lethe", "-c", "user.email=lethe@localhost")


def override(root: Path, values: dict[str, object]) -> None:
    """Set parameters by their dotted names."""
    yaml = YAML()
    params = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    for name, value in values.items():
        *path, last = name.split(".")
        section = params
        for key in path:
            section = section[key]
        section[last] = value
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def keep_schemes(root: Path, names: list[str]) -> None:
    """Quantize by these schemes alone."""
    yaml = YAML()
    schemes = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))["attacks"]["quantization"]["schemes"]
    override(root, {"attacks.quantization.schemes": {name: schemes[name] for name in names}})


def environment() -> dict[str, str]:
    """The environment of the stages: this interpreter first, one copy of the library, nothing sent anywhere."""
    interpreter = Path(sys.executable).parent
    return os.environ | {
        "PATH": f"{interpreter}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "src",
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "true",
    }


def repro(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``dvc repro`` to its end, with what it printed."""
    command = ["dvc", "repro", *arguments]
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)


def stages_run(output: str) -> list[str]:
    """The stages that a ``dvc repro`` really ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
