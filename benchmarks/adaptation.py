"""How a recipe's numbers, made for large models, are brought to the shipped world: one rule for all, in one file."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from lethe import config
from lethe.config import Section
from lethe.edits import model_mixing
from lethe.errors import ConfigError

SETTINGS = Path("benchmarks/shipped_world.yaml")
_LENGTH = ("steps", "batch_size", "accumulation")


class Length(Section):
    """How long and on how much every training of a recipe runs."""

    steps: PositiveInt
    batch_size: PositiveInt
    accumulation: PositiveInt


class Settings(Section):
    """The file ``shipped_world.yaml``; it says what each number means."""

    seed: NonNegativeInt
    training: Length
    scaled_steps: list[str]
    scaled_rates: list[str]
    factors: Annotated[list[PositiveFloat], Field(min_length=1)]
    likely_rate: PositiveFloat
    validation_rows: PositiveInt
    mixing: model_mixing.Config
    schemes: list[str]
    exceptions: dict[str, dict[str, Any]]


def read() -> Settings:
    """The settings, checked. Raises ConfigError for a key that is missing or unknown."""
    return config.parse(Settings, config.read_params(SETTINGS), str(SETTINGS))


def adapted(name: str, values: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A resolved recipe of the length that all recipes have here, with its exceptions; its learning rates as they are.

    Raises ConfigError for an exception whose place the recipe does not have.
    """
    whole = values["training"]["steps"] if values["training"] else settings.training.steps
    shortened = _shortened(dict(values), settings, settings.training.steps / whole)
    for path, value in settings.exceptions.get(name, {}).items():
        _put(shortened, path, value, f"{SETTINGS}: exceptions.{name}.{path}")
    return shortened


def faster(values: Any, factor: float, rates: Sequence[str]) -> Any:
    """The same blocks with every learning rate of an optimizer or an adversary multiplied.

    A wrapper's own ``lr`` is the size of a perturbation of hidden states, no learning rate of the weights.
    """
    changed = dict(values)
    for key, value in values.items():
        if key == "wrapper":
            changed[key] = _each(value, lambda block: block if "lr" in block else faster(block, factor, rates))
        elif isinstance(value, dict):
            changed[key] = faster(value, factor, rates)
        elif key in rates and value is not None and not isinstance(value, dict):
            changed[key] = [factor * rate for rate in value] if isinstance(value, list) else factor * value
    return changed


def first_rate(values: Mapping[str, Any], rates: Sequence[str]) -> float | None:
    """The first learning rate of a recipe; None for a closed-form edit, which has none."""
    for key, value in values.items():
        if isinstance(value, dict) and key != "wrapper":
            found = first_rate(value, rates)
            if found is not None:
                return found
        elif key in rates and isinstance(value, float):
            return value
    return None


def tried_factors(values: Mapping[str, Any], settings: Settings) -> tuple[Sequence[float], int]:
    """The factors that a recipe may be run at, and the place of the one that is tried first."""
    rate = first_rate(values, settings.scaled_rates)
    if rate is None:
        return [1.0], 0
    distances = [abs(math.log(factor * rate / settings.likely_rate)) for factor in settings.factors]
    return settings.factors, distances.index(min(distances))


def search(forgets: Callable[[float], bool], factors: Sequence[float], start: int) -> None:
    """Try the ascending factors from ``start`` on, until the smallest that forgets and its neighbour below are tried.

    What this presumes: a larger factor never forgets less. When none forgets, all from ``start`` on are tried.
    """
    if forgets(factors[start]):
        while start > 0 and forgets(factors[start - 1]):
            start -= 1
    else:
        while start + 1 < len(factors) and not forgets(factors[start + 1]):
            start += 1


def _shortened(block: dict[str, Any], settings: Settings, share: float) -> dict[str, Any]:
    if all(key in block for key in _LENGTH):
        share = settings.training.steps / block["steps"]
        block = {**block, **settings.training.model_dump(), "checkpoint_steps": settings.training.steps}
    changed = {}
    for key, value in block.items():
        if isinstance(value, dict) or key == "wrapper":
            changed[key] = _each(value, lambda inner: _shortened(inner, settings, share))
        elif key in settings.scaled_steps and value:
            changed[key] = max(1, round(share * value))
        else:
            changed[key] = value
    return changed


def _each(blocks: Any, change: Callable[[Any], Any]) -> Any:
    """A part of a recipe, which is null, a block or a list of blocks, with each block changed."""
    if isinstance(blocks, list):
        return [change(block) for block in blocks]
    return change(blocks) if isinstance(blocks, dict) else blocks


def _put(values: dict[str, Any], path: str, value: Any, where: str) -> None:
    *parents, last = path.split(".")
    block: Any = values
    for key in parents:
        block = block.get(key) if isinstance(block, dict) else None
    if not isinstance(block, dict) or last not in block:
        raise ConfigError(f"{where}: the recipe has no such place; correct the path or drop it.")
    block[last] = value
