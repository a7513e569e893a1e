"""What only a later stage would refuse, foreseen: misspelt sections, and what a recipe names outside of params.yaml.

Outside stand files of terms and the parts of the model. ``unlearn`` looks at the same, but after the
training of target and retain model. No weight is loaded here: of the model its configuration is enough. Where that is
not at hand, as of a model that is still on the hub, ``unlearn`` says it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lethe import artifacts, capabilities, config, controls, observed, registry, scoring
from lethe.config import PARAMS, Section
from lethe.errors import ConfigError
from lethe.recipes import AXES, Component, Recipe

if TYPE_CHECKING:  # seconds of import, for recipes that name a part of the model alone
    from transformers import PreTrainedModel

#: Sections of one block for each component of a kind; one that is misspelt would stand there without effect.
_BLOCKS = dict.fromkeys(("encoding", "finetune", "infer", "check"), "sources") | {"attacks": "attacks"}
_PARTS = {folder: part for part, folder in AXES.items()}


def require_sections(source: str, attacks: Iterable[str]) -> None:
    """Refuse, with ConfigError, what is misspelt in a section that only a stage further down the graph reads.

    Sections whose schema stands beside code that runs models are not among them.
    """
    registry.require("sources", source, "data")
    for section, kind in _BLOCKS.items():
        for name in config.block(section):
            registry.require(kind, name, section)
    for attack in attacks:
        config.section(registry.load("attacks", attack, "grid.attacks").Config, "attacks", attack)
    config.section(scoring.Config, "score")
    config.section(controls.Config, "check", source)
    config.section(observed.Config, "observe")
    config.section(capabilities.Config, "capabilities")
    scoring.metrics()


def require_named(recipes: Mapping[str, Recipe]) -> None:
    """Refuse files of terms that cannot be read, and parts that the model to be unlearned does not have: ConfigError.

    The recipes are by their names in ``params.yaml``.
    """
    found = [place for name, recipe in recipes.items() for place in _places(f"recipes.{name}", recipe)]
    for where, settings in found:
        if where.endswith(".anchor_file"):
            _said_of(where, "", _require_terms, settings)
    naming = [(where, one) for where, one in found if isinstance(one, Component) and _names_a_part(one)]
    model = outline() if naming else None
    if model is not None:
        for where, component in naming:
            _said_of(where, f"{_PARTS[component.kind]}.", _require_parts, model, component)


def _require_terms(file: Any) -> None:
    from lethe import anchors  # which loads torch, as the edit that names a file has done

    anchors.read(file)


def outline() -> PreTrainedModel | None:
    """The model that is to be unlearned, with shapes and names and no weights; None where it is not at hand."""
    settings = config.block("finetune", str(config.block("data")))
    source = settings["target_checkpoint"] or settings["base"]
    if source is None:
        return _of_architecture(settings["architecture"])
    if Path(source) == artifacts.BASE:
        return _of_architecture(config.block("pretrain", "architecture"))
    revision = None if settings["target_checkpoint"] else settings["revision"]
    return _of_checkpoint(source, revision)


def _of_architecture(architecture: Any) -> PreTrainedModel | None:
    from transformers import AutoConfig

    try:
        given = dict(architecture)
        return _without_weights(AutoConfig.for_model(given.pop("model_type"), **given))
    except (KeyError, TypeError, ValueError):  # the stage that makes the model says what is wrong
        return None


def _of_checkpoint(source: str, revision: str | None) -> PreTrainedModel | None:
    from transformers import AutoConfig

    try:
        return _without_weights(
            AutoConfig.from_pretrained(source, revision=revision, local_files_only=True, trust_remote_code=False)
        )
    except (OSError, ValueError):  # not here yet, or the stage that loads it says what is wrong
        return None


def _without_weights(shape: Any) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(shape)
    return model


def _places(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every component and section of a recipe, those that stand in another's settings included, with its place."""
    if isinstance(value, Recipe):
        yield from (place for part, inner in _written(value) for place in _places(f"{where}.{part}", inner))
        return
    if isinstance(value, Component | Section):
        yield where, value
    settings = value.config if isinstance(value, Component) else value
    inside = enumerate(settings) if isinstance(settings, list) else settings if isinstance(settings, Section) else ()
    for key, inner in inside:
        yield from _places(f"{where}.{key}", inner)


def _written(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    # The parts of a recipe as params.yaml has them: a wrapper that stands alone in no list.
    yield "edit", recipe.edit
    if (point := recipe.point) is None:
        return
    yield from ((part, getattr(point, part)) for part in AXES if part != "wrapper")
    yield "wrapper", point.wrappers[0] if len(point.wrappers) == 1 else list(point.wrappers)


def _names_a_part(component: Component) -> bool:
    fields = type(component.config).model_fields
    if component.kind == "masks":
        return hasattr(component.module, "check") or bool(fields and not component.module.SIGNALS)
    return "layer" in fields or "layers" in fields


def _require_parts(model: PreTrainedModel, component: Component) -> None:
    from lethe import models

    layer, count = getattr(component.config, "layer", None), len(models.blocks(model))
    if layer is not None and layer >= count:
        part = _PARTS[component.kind]
        raise ConfigError(f"{part}.layer: {layer}: the model's blocks are numbered 0 to {count - 1}; name one of them.")
    if hasattr(component.module, "check"):
        component.module.check(model, component.config)
    elif component.kind == "masks":
        tried = copy.deepcopy(model)
        if hasattr(component.module, "enter"):
            component.module.enter(tried, component.config, 0)
        component.module.select(tried, component.config, {})


def _said_of(where: str, part: str, look: Any, *given: Any) -> None:
    """Call ``look``; what it says of a ``part`` of a recipe is said of the place where the part stands."""
    try:
        look(*given)
    except ConfigError as error:
        said = str(error)
        inner = f".{said.removeprefix(part)}" if part and said.startswith(part) else f": {said}"
        raise ConfigError(f"{PARAMS}: {where}{inner}") from None
