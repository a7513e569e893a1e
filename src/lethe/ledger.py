"""What ``dvc.lock`` says is finished: the cells of the grid, keys, and hashes of what they read and wrote.

A cell is one model of the experiment: a control, or a recipe with a seed. Its key is the hash of the
``dvc.lock`` entries of its stages, so it changes exactly when something that the cell depends on does.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from lethe import artifacts, config
from lethe.errors import ArtifactError
from lethe.recipes import Grid

LOCK = Path("dvc.lock")
_TRAINING = ("finetune", "unlearn")
_MEASURING = ("infer", "capabilities", "score")
_CONTROLS, _RETAIN_SEEDS = "_controls", "_retain_seeds"  # stand behind the word where the cell is a control

Entry = dict[str, Any]  # what dvc.lock keeps of a stage: cmd, deps, params, outs


@dataclass(frozen=True)
class Cell:
    """A model and the ``dvc.lock`` entries of its stages, by stage name; ``recipe`` is None for a control."""

    name: str
    recipe: str | None
    entries: dict[str, Entry]

    @property
    def key(self) -> str:
        """The hash of all entries (sha256, 64 hexadecimal digits)."""
        return key(self.entries)

    @property
    def training(self) -> Entry:
        """The entry of the stage that made the model."""
        return next(entry for stage, entry in self.entries.items() if _word(stage) in _TRAINING)

    @property
    def outputs(self) -> dict[str, str]:
        """The md5 of everything the cell's stages wrote, by path."""
        return {path: md5 for entry in self.entries.values() for path, md5 in hashes(entry, "outs").items()}

    @property
    def inputs(self) -> dict[str, str]:
        """The md5 of the data, models and recipe that the model was made from, by path."""
        data = f"{artifacts.DATA.as_posix()}/"
        return {path: md5 for path, md5 in hashes(self.training, "deps").items() if path.startswith(data)}


def read(path: Path = LOCK) -> dict[str, Entry]:
    """The entries of ``dvc.lock`` by stage name. Raises ArtifactError when there is none or it is damaged."""
    try:
        lock = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        return dict(lock["stages"])
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run `dvc repro` first.") from None
    except (YAMLError, TypeError, KeyError):
        raise ArtifactError(f"{path}: no lock file of DVC; restore it with `git checkout {path}`.") from None


def key(value: Any) -> str:
    """The sha256 of a value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hashes(entry: Entry, kind: str) -> dict[str, str]:
    """The md5 of each of a stage's ``deps`` or ``outs`` by path; one that DVC has no hash of is left out."""
    return {item["path"]: item["md5"] for item in entry.get(kind, []) if "md5" in item}


def written(lock: dict[str, Entry]) -> dict[str, str]:
    """The md5 of everything that any stage wrote, by path."""
    return {path: md5 for entry in lock.values() for path, md5 in hashes(entry, "outs").items()}


def cells(lock: dict[str, Entry], grid: Grid) -> list[Cell]:
    """The controls, more retain models, then every recipe with every seed, each with its entries of the lock."""
    more = [artifacts.retain(seed) for seed in grid.retain_seeds]
    members: dict[str, str | None] = dict.fromkeys([*artifacts.CONTROLS, *more])
    members |= {artifacts.cell(recipe, seed): recipe for recipe in grid.recipes for seed in grid.seeds}
    owned: dict[str, dict[str, Entry]] = {name: {} for name in members}
    for stage, entry in lock.items():
        owner = _owner(stage, members)
        if owner is not None:
            owned[owner][stage] = entry
    return [Cell(name, recipe, owned[name]) for name, recipe in members.items()]


def current(lock: dict[str, Entry]) -> list[Cell]:
    """The cells of the grid that stands in ``params.yaml``."""
    return cells(lock, config.section(Grid, "grid"))


def gap(cell: Cell, lock: dict[str, Entry]) -> str | None:
    """Why a cell is not finished, in a phrase; None when its files are whole and belong together."""
    words = {_word(stage) for stage in cell.entries}
    if not words & set(_TRAINING) or "score" not in words:
        return "not all of its stages have run"
    newest = written(lock)
    for stage, entry in cell.entries.items():
        for path, md5 in hashes(entry, "deps").items():
            if newest.get(path, md5) != md5:
                return f"{stage} has not seen the newest {path}"
    for name, md5 in _checked_files(cell).items():
        if dvc_md5(Path(name)) != md5:
            return f"{name} is not what {LOCK} speaks of"
    return None


def dvc_md5(path: Path) -> str | None:
    """The md5 that DVC gives a file, or a folder (of the sorted list of its files); None when it is not there."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if not path.is_dir():
        return None
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    listing = [{"md5": dvc_md5(file), "relpath": name} for name, file in sorted(files.items())]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _checked_files(cell: Cell) -> dict[str, str]:
    # The small files, whose numbers are shown, and the records, where scores can be older than an answer.
    read_and_written = {
        path: md5
        for entry in cell.entries.values()
        for kind in ("deps", "outs")
        for path, md5 in hashes(entry, kind).items()
    }
    shown = tuple(f"{folder.as_posix()}/" for folder in (artifacts.RECORDS, artifacts.RECIPES))
    return {
        path: md5
        for path, md5 in read_and_written.items()
        if path.startswith(shown) or (path in cell.outputs and path.endswith(".json"))
    }


def _word(stage: str) -> str:
    return stage.partition("@")[0].removesuffix(_CONTROLS).removesuffix(_RETAIN_SEEDS)


def _owner(stage: str, names: dict[str, str | None]) -> str | None:
    # "infer@npo-1-0-none" starts with the cells "npo-1-0" and "npo-1": the longest name is the owner.
    word, _, item = stage.partition("@")
    if _word(stage) not in (*_TRAINING, *_MEASURING):
        return None
    if word.endswith(_RETAIN_SEEDS):
        name = artifacts.retain(int(item.partition("-")[0]))
        return name if name in names else None
    is_control = word == "finetune" or word.endswith(_CONTROLS)
    found = [
        name
        for name in names
        if (name in artifacts.CONTROLS) == is_control and (item == name or item.startswith(f"{name}-"))
    ]
    return max(found, key=len, default=None)
