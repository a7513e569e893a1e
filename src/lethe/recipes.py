"""A recipe: a point of forget objective × retain objective × combiner × optimizer × mask, with numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, StrictInt

from lethe import artifacts, config, registry
from lethe.config import PARAMS, Section
from lethe.errors import ArtifactError, ConfigError

#: Each part of a recipe that a component fills, and the folder that the component stands in.
KINDS = {
    "forget_objective": "forget_objectives",
    "retain_objective": "retain_objectives",
    "combiner": "combiners",
    "optimizer": "optimizers",
    "mask": "masks",
}


class Training(Section):
    """How long, on how much and in which precision a model is trained.

    With ``fp32_master`` weights are fp32 whatever the compute dtype; ``bf16_in_place`` rounds them to
    bfloat16 after every step, as much published code does. A step sees ``batch_size`` × ``accumulation`` rows.
    """

    weights: Literal["fp32_master", "bf16_in_place"]
    compute_dtype: Literal["float32", "bfloat16"]
    steps: PositiveInt
    batch_size: PositiveInt  # rows in one forward pass
    accumulation: PositiveInt  # forward passes in one optimizer step
    schedule: Literal["constant", "linear"]  # of the learning rate after warm-up; linear goes down to zero
    warmup_steps: Annotated[int, Field(ge=0)]
    max_grad_norm: PositiveFloat | None  # null: the gradient is not clipped
    checkpoint_steps: PositiveInt

    @pydantic.field_validator("warmup_steps")
    @classmethod
    def _ends_before_training_does(cls, warmup_steps: int, info: pydantic.ValidationInfo) -> int:
        if warmup_steps > info.data.get("steps", warmup_steps):
            raise ValueError(f"more than steps ({info.data['steps']}); lower it")
        return warmup_steps


def _each_once(values: list[Any]) -> list[Any]:
    twice = [value for index, value in enumerate(values) if value in values[:index]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands there more than once; name it once")
    return values


class Grid(Section):
    """The cells of the experiment: every recipe with every seed, under every attack family."""

    recipes: Annotated[list[str], Field(min_length=1), AfterValidator(_each_once)]
    seeds: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1), AfterValidator(_each_once)]
    attacks: Annotated[list[str], Field(min_length=1), AfterValidator(_each_once)]


class _Blocks(Section):
    # A recipe as it stands in params.yaml; each block is checked later, against its component's own schema.
    forget_objective: dict[str, Any]
    retain_objective: dict[str, Any] | None
    combiner: dict[str, Any]
    optimizer: dict[str, Any]
    mask: dict[str, Any]
    training: dict[str, Any]


@dataclass(frozen=True)
class Component:
    """One file of a folder of components, with its settings: ``config`` is a ``module.Config``."""

    kind: str
    name: str
    module: ModuleType
    config: Any


@dataclass(frozen=True)
class Recipe:
    """What an unlearning run does. ``retain_objective`` is None where nothing is held fast."""

    forget_objective: Component
    retain_objective: Component | None
    combiner: Component
    optimizer: Component
    mask: Component
    training: Training


def read(name: str) -> Recipe:
    """The recipe of that name in ``params.yaml``.

    Raises ConfigError, with the nearest match, for a recipe, component or key that does not exist, and for
    parts that do not fit together.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ConfigError(f"{PARAMS}: recipe {name!r}: a name holds letters, digits, '_' and '-'; rename it.")
    return _build(config.block("recipes", name), f"recipes.{name}")


def resolve(name: str) -> dict[str, Any]:
    """All that the recipe stands for, ready for JSON: checked numbers, and under ``code`` file to SHA-256."""
    recipe = read(name)
    parts = {part: _numbers(getattr(recipe, part)) for part in KINDS}
    return {**parts, "training": recipe.training.model_dump(mode="json"), "code": _code(recipe)}


def from_resolved(path: Path) -> Recipe:
    """The recipe in a file that holds what ``resolve`` returned; ``params.yaml`` is not looked at.

    Raises ArtifactError when the file is missing or damaged, or when a component has changed since.
    """
    values = dict(artifacts.read_json(path))
    code = values.pop("code", None)
    try:
        recipe = _build(values, path.stem)
    except ConfigError as error:
        raise ArtifactError(f"{path}: does not fit ({error}); run `dvc repro resolve`.") from None
    if code != _code(recipe):
        raise ArtifactError(f"{path}: a component has changed since it was written; run `dvc repro resolve`.")
    return recipe


def component_files(recipe: Recipe) -> list[Path]:
    """The file of every component that the recipe uses."""
    return [registry.source_file(component.kind, component.name) for component in _components(recipe)]


def _build(values: Any, where: str) -> Recipe:
    blocks = config.parse(_Blocks, values, where)
    parts: dict[str, Any] = {part: _component(part, getattr(blocks, part), where) for part in KINDS}
    recipe = Recipe(**parts, training=config.parse(Training, blocks.training, f"{where}.training"))
    _require_fitting_parts(recipe, where)
    return recipe


def _component(part: str, settings: dict[str, Any] | None, where: str) -> Component | None:
    if settings is None:
        return None
    module, checked = registry.configured(KINDS[part], settings, f"{where}.{part}")
    return Component(KINDS[part], settings["name"], module, checked)


def _require_fitting_parts(recipe: Recipe, where: str) -> None:
    if recipe.retain_objective is not None:
        return
    found = f"{PARAMS}: {where}: there is no retain_objective"
    known = ", ".join(registry.names("retain_objectives"))
    if recipe.combiner.module.SEPARATE:
        name = recipe.combiner.name
        raise ConfigError(f"{found} for combiner {name!r}; name one of {known}, or use combiner 'sum'.")
    weight = recipe.combiner.config.retain_weight
    if weight != 0:
        raise ConfigError(f"{found} for retain_weight {weight:g}; name one of {known}, or set it to 0.")


def _components(recipe: Recipe) -> Iterator[Component]:
    parts = (getattr(recipe, part) for part in KINDS)
    return (component for component in parts if component is not None)


def _numbers(component: Component | None) -> dict[str, Any] | None:
    return None if component is None else {"name": component.name, **component.config.model_dump(mode="json")}


def _code(recipe: Recipe) -> dict[str, str]:
    return {_in_repository(file): artifacts.sha256(file) for file in component_files(recipe)}


def _in_repository(file: Path) -> str:
    # The same wherever the package is installed.
    return f"src/{file.relative_to(registry.LIBRARY.parent).as_posix()}"
