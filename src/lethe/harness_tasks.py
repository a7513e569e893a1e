"""Tasks as lm-eval runs them: those of the source, those of the user, and those that lm-eval brings along.

The source's tasks are read from ``data/prepared/tasks`` and need neither network nor cache. The user's stand as YAML
files in a folder and need no network unless they ask for it; a group of tasks is one such file. Only what neither of
them knows is sought among lm-eval's own, which fetch their data from the hub.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from lethe import artifacts, rows
from lethe.config import PARAMS
from lethe.errors import ConfigError

_TASKS, _FOLDER = f"{PARAMS}: capabilities.tasks", f"{PARAMS}: capabilities.include_path"


def load(names: Sequence[str], folder: Path, *, num_fewshot: int | None, seed: int) -> Any:
    """The named tasks and groups with their few-shot settings, as lm-eval's ``evaluate`` takes them.

    ``folder`` holds the user's own. ``num_fewshot`` None: what each task says; a task that says 0 keeps 0.

    Raises ConfigError for a folder or a task that is not there, and for a task that cannot be loaded.
    """
    of_source = {name: artifacts.TASKS / f"{name}.yaml" for name in artifacts.read_json(artifacts.TASK_NAMES)}
    others = [name for name in names if name not in of_source]
    manager = _manager(others, folder, of_source)
    found = _load(manager, [*(_source_task(of_source[name]) for name in names if name in of_source), *others], others)
    for name, task in found["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            raise ConfigError(f"{_TASKS}: {name} needs pictures or runs code; take it out.")
        _set_fewshot(task, num_fewshot, seed)
    return found


def _manager(names: Sequence[str], folder: Path, of_source: Iterable[str]) -> Any:
    """lm-eval's manager that knows all of ``names``; its index of its own tasks, which takes seconds, if need be."""
    from lm_eval.tasks import TaskManager

    _require_yaml(folder)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    for name in sorted(set(of_source) & set(manager.all_tasks)):
        raise ConfigError(f"{_FOLDER}: {folder} has a task {name!r}, as the source has; give it another name.")
    if not _unknown(names, manager):
        return manager
    manager = TaskManager(include_path=str(folder), include_defaults=True)
    for name in _unknown(names, manager):
        known = [*of_source, *manager.all_tasks]
        close = ", ".join(map(repr, difflib.get_close_matches(name, known, n=3)))
        hint = f" Did you mean {close}?" if close else ""
        raise ConfigError(f"{_TASKS}: no task {name!r} in {folder} or in lm-eval (`lm-eval ls tasks`).{hint}")
    return manager


def _require_yaml(folder: Path) -> None:
    # lm-eval passes over a folder that is not there and over a file that it cannot read.
    if not folder.is_dir():
        raise ConfigError(f"{_FOLDER}: no folder {str(folder)!r}; make it, or name the one that holds your tasks.")
    for file in sorted(folder.rglob("*.yaml")):
        try:
            YAML(pure=True).load(file.read_text(encoding="utf-8"))
        except (YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not valid YAML: {_one_line(error)}; mend it.") from None


def _unknown(names: Iterable[str], manager: Any) -> list[str]:
    return [name for name in _with_members(names, manager) if name not in manager.task_index]


def _with_members(names: Iterable[str], manager: Any) -> Iterator[str]:
    """The names and, for groups, those of all members that the group names and does not define itself."""
    for name in names:
        yield name
        entry = manager.task_index.get(name)
        members = entry.cfg.get("task") if entry is not None and name in manager.all_groups else []
        listed = members if isinstance(members, list) else []
        yield from _with_members([member for member in listed if isinstance(member, str)], manager)


def _load(manager: Any, tasks: Sequence[Any], others: Sequence[str]) -> Any:
    import datasets

    try:
        return manager.load(tasks)
    except (
        AttributeError,
        ImportError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        datasets.exceptions.DatasetsError,
    ) as error:  # everything that a user's file may have wrong, and a hub that does not answer
        raise ConfigError(
            f"{_TASKS}: lm-eval cannot load {', '.join(others)}: {_one_line(error)}; "
            "see to what it asks for, or take the task out."
        ) from None


def _set_fewshot(task: Any, num_fewshot: int | None, seed: int) -> None:
    task.set_fewshot_seed(seed=seed)
    own = task.get_config("num_fewshot")
    if own is None or (own != 0 and num_fewshot is not None):
        task.set_config(key="num_fewshot", value=num_fewshot or 0)


def _source_task(file: Path) -> dict[str, Any]:
    # Rows in memory: `datasets` would copy the file to a cache outside the project and report a download.
    return {**YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")), "custom_dataset": _rows_of}


def _rows_of(data_files: dict[str, str], **_: object) -> dict[str, Any]:
    from datasets import Dataset

    return {
        split: Dataset.from_list([values for _, values in rows.read_json_lines(Path(path))])
        for split, path in data_files.items()
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
