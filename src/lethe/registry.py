"""The folder is the registry: the files of ``lethe/<kind>/`` are the components of that kind."""

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from lethe import config
from lethe.config import Section
from lethe.errors import ConfigError

LIBRARY = Path(__file__).parent


def names(kind: str) -> list[str]:
    """Every component of a kind, in alphabetical order."""
    return sorted(path.stem for path in (LIBRARY / kind).glob("*.py") if path.stem != "__init__")


def require(kind: str, name: str, where: str = "") -> None:
    """Import nothing, but see that ``name`` is there.

    Raises ConfigError with the nearest match, opened by ``where`` in the parameters, when there is no such file.
    """
    if name not in names(kind):
        place = f"{config.PARAMS}: {where}: " if where else f"{config.PARAMS}: "
        raise ConfigError(f"{place}no {name!r} in {kind}.{config.nearest(name, names(kind), _described(kind, name))}")


def _described(kind: str, name: str) -> str | None:
    """The component whose description has the name first, as papers abbreviate their methods; None without any."""
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    found = [(match.start(), one) for one in names(kind) if (match := word.search(_description(kind, one)))]
    return min(found)[1] if name and found else None


def _description(kind: str, name: str) -> str:
    return ast.get_docstring(ast.parse(source_file(kind, name).read_text(encoding="utf-8"))) or ""


def load(kind: str, name: str, where: str = "") -> ModuleType:
    """The module that implements ``name``; only that module is imported.

    Raises ConfigError as :func:`require`.
    """
    require(kind, name, where)
    return importlib.import_module(f"lethe.{kind}.{name}")


def source_file(kind: str, name: str) -> Path:
    """The file that implements a component."""
    return LIBRARY / kind / f"{name}.py"


def configured(kind: str, settings: dict[str, Any], where: str) -> tuple[ModuleType, Section]:
    """A component and its checked settings, from a block that holds ``name`` beside the component's own keys."""
    if not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
        known = config.nearest(settings if isinstance(settings, str) else "", names(kind))
        found = config.shown(settings)
        raise ConfigError(f"{config.PARAMS}: {where}: expected a block with a 'name', found {found}.{known}")
    module = load(kind, settings["name"], f"{where}.name")
    rest = {key: value for key, value in settings.items() if key != "name"}
    return module, config.parse(module.Config, rest, where)
