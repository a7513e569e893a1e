"""A recipe: a point of forget objective × retain objective × combiner × optimizer × mask × wrappers, then an edit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictInt

from lethe import artifacts, config, points, registry
from lethe.config import PARAMS, Section
from lethe.errors import ArtifactError, ConfigError
from lethe.points import Component, Point, RetainRows, Training

__all__ = ["AXES", "KINDS", "Component", "Grid", "Point", "Recipe", "Training"]

#: Each axis of training, and the folder that its components stand in.
AXES = {
    "forget_objective": "forget_objectives",
    "retain_objective": "retain_objectives",
    "combiner": "combiners",
    "optimizer": "optimizers",
    "mask": "masks",
    "wrapper": "wrappers",
}
#: Each part of a recipe that a component fills, and the folder that the component stands in.
KINDS = {**AXES, "edit": "edits"}
_OF_ONE = tuple(part for part in AXES if part != "wrapper")  # a step may stand inside of several wrappers


class Grid(Section):
    """The cells of the experiment: every recipe with every seed, under every attack family.

    ``retain_seeds`` are the seeds of more retain models beside the one of ``finetune``; there may be none.
    """

    recipes: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1)]
    attacks: Annotated[list[str], Field(min_length=1)]
    retain_seeds: list[Annotated[StrictInt, Field(ge=0)]]


def listed(blocks: Any) -> list[Any]:
    """The blocks of a part of a recipe as ``params.yaml`` has them: null for none, one, or a list of them.

    Raises ValueError for anything else.
    """
    if not isinstance(blocks, list | dict | None):
        raise ValueError("expected null, a block or a list of blocks")
    return blocks if isinstance(blocks, list) else [blocks] if blocks is not None else []


class _Blocks(Section):
    # A recipe as it stands in params.yaml; each block is checked later, against its component's own schema.
    forget_objective: dict[str, Any] | None
    retain_objective: dict[str, Any] | None
    retain_rows: RetainRows | None
    combiner: dict[str, Any] | None
    optimizer: dict[str, Any] | None
    mask: dict[str, Any] | None
    wrapper: Annotated[list[dict[str, Any]], BeforeValidator(listed)]
    training: dict[str, Any] | None
    edit: dict[str, Any] | None


@dataclass(frozen=True)
class Recipe:
    """What an unlearning run does: training at a ``point``, then an ``edit`` of the weights; either may be None."""

    point: Point | None
    edit: Component | None


def read(name: str) -> Recipe:
    """The recipe of that name in ``params.yaml``.

    Raises ConfigError, with the nearest match, for a recipe, component or key that does not exist, and for
    parts that do not fit together.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ConfigError(f"{PARAMS}: recipe {name!r}: a name holds letters, digits, '_' and '-'; rename it.")
    if name == artifacts.CONTROLS[1]:
        raise ConfigError(f"{PARAMS}: recipe {name!r}: its cells would be called as the retain models are; rename it.")
    return _build(config.block("recipes", name), f"recipes.{name}")


def resolve(name: str) -> dict[str, Any]:
    """All that the recipe stands for, ready for JSON: checked numbers, and under ``code`` file to SHA-256."""
    recipe = read(name)
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS.values()}
    for component in _components(recipe):
        found[component.kind].append(as_block(component))
    parts = {part: _as_written(found[kind]) for part, kind in KINDS.items()}
    training = None if recipe.point is None else recipe.point.training.model_dump(mode="json")
    rows = None if recipe.point is None else recipe.point.retain_rows
    return {**parts, "retain_rows": rows, "training": training, "code": _code(recipe)}


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
    """The file of every component that the recipe uses, those that stand in another's settings included."""
    used = [one for component in _components(recipe) for one in (component, *_held(component.config))]
    return [registry.source_file(component.kind, component.name) for component in used]


def as_block(component: Component) -> dict[str, Any]:
    """A component as ``params.yaml`` has it: its name beside its settings, ready for JSON."""
    return {"name": component.name, **component.config.model_dump(mode="json")}


def nested(kind: str, block: Any, part: str) -> Component:
    """The component of a block that stands in the settings of another, for a validator there.

    Raises ValueError, which is what pydantic takes and puts the place in front of, for what is no such component.
    """
    try:
        module, settings = registry.configured(kind, block, part)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix(f"{PARAMS}: {part}").lstrip(".: ").rstrip(".")) from None
    return Component(kind, block["name"], module, settings)


def _build(values: Any, where: str) -> Recipe:
    blocks = config.parse(_Blocks, values, where)
    edit = _component("edit", blocks.edit, f"{where}.edit")
    if blocks.forget_objective is None:
        _require_edit_alone(blocks, where)
        return Recipe(None, edit)
    point = _point(blocks, where)
    if edit is not None and getattr(point.mask.config, "keep_adapter", False):
        raise ConfigError(
            f"{PARAMS}: {where}.mask.keep_adapter: true beside an edit, after which the adapter is no longer the "
            "model's difference; set it to false, or edit to null."
        )
    return Recipe(point, edit)


def _point(blocks: _Blocks, where: str) -> Point:
    for part in (*_OF_ONE, "training"):
        if getattr(blocks, part) is None and part != "retain_objective":
            raise ConfigError(f"{PARAMS}: {where}.{part}: null beside a forget_objective; give it a block.")
    parts: dict[str, Any] = {part: _component(part, getattr(blocks, part), f"{where}.{part}") for part in _OF_ONE}
    wrappers = _wrappers(blocks.wrapper, f"{where}.wrapper")
    training = config.parse(Training, blocks.training, f"{where}.training")
    point = Point(**parts, retain_rows=blocks.retain_rows, wrappers=wrappers, training=training)
    points.require_fitting(point, where)
    return point


def _component(part: str, settings: dict[str, Any] | None, where: str) -> Component | None:
    if settings is None:
        return None
    module, checked = registry.configured(KINDS[part], settings, where)
    return Component(KINDS[part], settings["name"], module, checked)


def _wrappers(blocks: list[dict[str, Any]], where: str) -> tuple[Component, ...]:
    places = [where] if len(blocks) == 1 else [f"{where}.{index}" for index in range(len(blocks))]
    found = (_component("wrapper", block, place) for block, place in zip(blocks, places, strict=True))
    wrappers = tuple(component for component in found if component is not None)
    points.require_wrappers(wrappers, where)
    return wrappers


def _require_edit_alone(blocks: _Blocks, where: str) -> None:
    if blocks.edit is None:
        raise ConfigError(f"{PARAMS}: {where}: neither forget_objective nor edit; a recipe needs one of them.")
    idle = [part for part in (*AXES, "retain_rows", "training") if getattr(blocks, part) not in (None, [])]
    if idle:
        raise ConfigError(
            f"{PARAMS}: {where}.{idle[0]}: without a forget_objective nothing is trained; set it to null."
        )


def _components(recipe: Recipe) -> list[Component]:
    point = recipe.point
    parts = [] if point is None else [*(getattr(point, part) for part in _OF_ONE), *point.wrappers]
    return [component for component in (*parts, recipe.edit) if component is not None]


def _as_written(blocks: list[Any]) -> Any:
    return blocks if len(blocks) > 1 else next(iter(blocks), None)


def _held(settings: Section) -> Iterator[Component]:
    # The components that stand in the settings of another: the mask of an edit's training, the terms of a sum.
    for _, value in settings:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Component):
                yield one
            elif isinstance(one, Section):
                yield from _held(one)


def _code(recipe: Recipe) -> dict[str, str]:
    return {_in_repository(file): artifacts.sha256(file) for file in component_files(recipe)}


def _in_repository(file: Path) -> str:
    # The same wherever the package is installed.
    return f"src/{file.relative_to(registry.LIBRARY.parent).as_posix()}"
