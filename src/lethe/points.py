"""A point of the product of all axes of training: one component of each, and what of them fits together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from lethe import registry
from lethe.config import PARAMS, Section
from lethe.errors import ConfigError


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
    schedule: Literal["constant", "linear", "cosine"]  # of the learning rate after warm-up; the others go down to zero
    warmup_steps: Annotated[int, Field(ge=0)]
    max_grad_norm: PositiveFloat | None  # null: the gradient is not clipped
    checkpoint_steps: PositiveInt

    @pydantic.field_validator("warmup_steps")
    @classmethod
    def _ends_before_training_does(cls, warmup_steps: int, info: pydantic.ValidationInfo) -> int:
        if warmup_steps > info.data.get("steps", warmup_steps):
            raise ValueError(f"more than steps ({info.data['steps']}); lower it")
        return warmup_steps


#: Rows of a split, drawn with replacement from all of them, or for each forget row from those that are as long.
RetainRows = Literal["retain", "general", "retain_length_matched", "general_length_matched"]
_MATCHED = "_length_matched"


@dataclass(frozen=True)
class Component:
    """One file of a folder of components, with its settings: ``config`` is a ``module.Config``."""

    kind: str
    name: str
    module: ModuleType
    config: Any

    @property
    def terms(self) -> tuple[Component, ...]:
        """The objectives that it is a sum of; of any other component itself alone."""
        return tuple(term.objective for term in getattr(self.config, "terms", ())) or (self,)


@dataclass(frozen=True)
class Point:
    """How a model is trained to forget: one component of each axis.

    ``retain_objective`` is None where nothing is held fast, and ``retain_rows`` says on which rows it is, and whether
    they are as long as the forget rows beside them. ``wrappers`` stand in the order of the recipe; there may be none.
    """

    forget_objective: Component
    retain_objective: Component | None
    retain_rows: RetainRows | None
    combiner: Component
    optimizer: Component
    mask: Component
    wrappers: tuple[Component, ...]
    training: Training

    @property
    def retain_split(self) -> str | None:
        """The split that the retain rows are drawn from; None where nothing is held fast."""
        return self.retain_rows and self.retain_rows.removesuffix(_MATCHED)

    @property
    def matches_lengths(self) -> bool:
        """Whether a step's retain rows are as long as its forget rows."""
        return self.retain_rows is not None and self.retain_rows.endswith(_MATCHED)

    @property
    def objectives(self) -> tuple[Component, ...]:
        """All that a step evaluates: the forget objective and the retain objective, if there is one, sums by term."""
        both = (self.forget_objective, self.retain_objective)
        return tuple(term for objective in both if objective is not None for term in objective.terms)

    @property
    def gradient_wrapper(self) -> Component | None:
        """The one wrapper that takes the forget gradient in its own way; None where it is taken plainly."""
        return next(iter(_taking_the_gradient(self.wrappers)), None)

    @property
    def gates(self) -> tuple[Component, ...]:
        """The wrappers that leave the forget gradient of a step or drop it, however it is taken."""
        return tuple(wrapper for wrapper in self.wrappers if hasattr(wrapper.module, "has_gradient"))

    @property
    def forget_wrappers(self) -> tuple[Component, ...]:
        """All wrappers that change the forget gradient, which a step then takes apart from the retain gradient."""
        return (*_taking_the_gradient(self.wrappers), *self.gates)

    @property
    def steps_per_batch(self) -> int:
        """How many steps in turn see the same rows; 1 unless a wrapper takes several."""
        wrapper = self.gradient_wrapper
        return 1 if wrapper is None else getattr(wrapper.config, "model_steps", 1)


def require_wrappers(wrappers: tuple[Component, ...], where: str) -> None:
    """Refuse a wrapper that stands there twice, and two that take the forget gradient."""
    names, taking = [wrapper.name for wrapper in wrappers], _taking_the_gradient(wrappers)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{PARAMS}: {where}: {twice!r} stands there more than once; name it once.")
    if len(taking) > 1:
        raise ConfigError(
            f"{PARAMS}: {where}: {taking[0].name!r} and {taking[1].name!r} both take the forget gradient, each in its "
            "own way; keep one of them, or write a recipe for each."
        )


def require_fitting(point: Point, where: str) -> None:
    """Refuse parts that do not fit together: ConfigError says which, and what to change.

    What can be told without a model; ``reach`` asks the model.
    """
    if (point.retain_objective is None) != (point.retain_rows is None):
        raise ConfigError(f"{PARAMS}: {where}: retain_objective and retain_rows go together; set both or neither.")
    if point.combiner.config.forget_weight == point.combiner.config.retain_weight == 0:
        raise ConfigError(f"{PARAMS}: {where}: both weights of the combiner are 0, which trains nothing; raise one.")
    _require_a_gradient(point, where)
    _require_use(point, where)
    if point.retain_objective is not None:
        return
    found = f"{PARAMS}: {where}: there is no retain_objective"
    known = ", ".join(registry.names("retain_objectives"))
    if "retain_gradient" in point.mask.module.SIGNALS:
        raise ConfigError(f"{found} for mask {point.mask.name!r}; name one of {known}, or use another mask.")
    if point.combiner.module.MODE != "joint":
        name = point.combiner.name
        raise ConfigError(f"{found} for combiner {name!r}; name one of {known}, or use combiner 'sum'.")
    weight = point.combiner.config.retain_weight
    if weight != 0:
        raise ConfigError(f"{found} for retain_weight {weight:g}; name one of {known}, or set it to 0.")


def _require_a_gradient(point: Point, where: str) -> None:
    """Refuse what would stand in a recipe without effect, because its optimizer takes no gradient of a step."""
    kind = point.optimizer.module.GRADIENT
    found = f"{PARAMS}: {where}: optimizer {point.optimizer.name!r} takes no gradient"
    if kind in ("estimated", "partly_estimated") and point.combiner.module.MODE != "joint":
        raise ConfigError(
            f"{found} in some of its steps or all, that combiner {point.combiner.name!r} could combine; "
            "use 'sum', or another optimizer."
        )
    if kind != "estimated":
        return
    if point.forget_wrappers:
        name = point.forget_wrappers[0].name
        raise ConfigError(f"{found} for wrapper {name!r}; take it out, or use another optimizer.")
    if getattr(point.mask.config, "refresh_steps", None) is not None:
        raise ConfigError(f"{found} to choose mask {point.mask.name!r} by; set refresh_steps to null.")


def _require_use(point: Point, where: str) -> None:
    """Refuse a wrapper that this training never comes to, or this objective never reads."""
    steps, read = point.training.steps, getattr(point.forget_objective.config, "layer", None)
    for wrapper in point.wrappers:
        found = f"{PARAMS}: {where}: wrapper {wrapper.name!r}"
        start, layers = getattr(wrapper.config, "start_step", None), getattr(wrapper.config, "layers", None)
        if start is not None and start >= steps:
            raise ConfigError(
                f"{found} begins with step {start}, counted from 0, and training.steps is {steps}; lower start_step."
            )
        aim = getattr(wrapper.config, "toward_away", None)
        if (
            aim is not None
            and aim.away_from == "substitute"
            and not hasattr(point.forget_objective.config, "substitute")
        ):
            raise ConfigError(
                f"{found} leads away from what is taught instead, and forget objective {point.forget_objective.name!r} "
                "teaches nothing; set toward_away.away_from to retain or general, or use another objective."
            )
        if layers is not None and read is not None and min(layers) > read:
            raise ConfigError(
                f"{found} works on blocks from {min(layers)} on, and forget objective "
                f"{point.forget_objective.name!r} reads block {read}; name that one or lower ones in layers."
            )


def _taking_the_gradient(wrappers: Iterable[Component]) -> list[Component]:
    return [wrapper for wrapper in wrappers if hasattr(wrapper.module, "backward")]
