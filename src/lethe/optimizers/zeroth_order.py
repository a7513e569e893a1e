"""Zeroth-order unlearning, ZO (Lang et al., 2025, arXiv:2510.00761): downhill by forward passes alone.

The gradient is estimated from slopes along random directions (:mod:`lethe.finite_differences`) of the weighted
sum of both losses, and AdamW takes the step, so that the estimate's scale does not matter as long as ``eps``
is small beside it. 2 q forward passes a step and no activations. The noise steers to places where weights
may be shaken, which is why what was unlearned so survives quantization and relearning better.

No gradient is taken, so a recipe with another combiner than ``sum``, with a wrapper of the forget gradient or with a
mask that is chosen anew is refused. Directions are drawn over the weights under a partial mask too.

Deviation: the paper does not give its radius and number of directions for every task; both are settings.
"""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import nn

from lethe import finite_differences, stepping
from lethe.config import Section
from lethe.moments import Probe

GRADIENT: Literal["estimated"] = "estimated"

Decay = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """The step of AdamW, and how its gradient is estimated."""

    lr: float = Field(gt=0)  # the peak; training.schedule multiplies it
    betas: tuple[Decay, Decay]
    eps: float = Field(gt=0)  # the estimate is small: ‖gradient‖ over the number of weights, or so
    weight_decay: float = Field(ge=0)  # decoupled: a weight loses lr × weight_decay of itself a step
    radius: float = Field(gt=0)  # μ, the distance that all weights together are moved by
    directions: PositiveInt  # q


def build(parameters: list[nn.Parameter], config: Config) -> stepping.Optimizer:
    """The optimizer over ``parameters``, with moments in their dtype."""
    return stepping.Optimizer(parameters, config, stepping.adamw)


def gradients(plain: stepping.Gradients, probe: Probe, optimizer: stepping.Optimizer) -> stepping.Gradients:
    """The estimate in place of the plain gradient."""
    config: Config = optimizer.config
    return partial(finite_differences.estimate, probe, radius=config.radius, directions=config.directions)
