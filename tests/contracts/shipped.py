"""The components as params.yaml uses them: each distinct block of settings, so that new members come along."""

from pathlib import Path
from typing import Any

import pytest

from lethe import config, recipes, registry
from lethe.recipes import KINDS, Component

PARAMS = Path(__file__).parents[2] / "params.yaml"


def library() -> dict[str, Any]:
    """The named recipes of params.yaml."""
    return dict(config.read_params(PARAMS)["recipes"])


def components(*parts: str) -> list[Any]:
    """Every distinct component and settings that a shipped recipe has for these parts, as pytest parameters."""
    found: dict[str, Component] = {}
    for recipe in library().values():
        for part in parts:
            for block in recipes.listed(recipe[part]):
                module, settings = registry.configured(KINDS[part], block, part)
                found.setdefault(
                    f"{block['name']}-{settings!r}", Component(KINDS[part], block["name"], module, settings)
                )
    return [pytest.param(component, id=f"{component.name}({_shown(component)})") for component in found.values()]


def _shown(component: recipes.Component) -> str:
    return ", ".join(f"{key}={value}" for key, value in component.config)
