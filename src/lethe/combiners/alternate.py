"""Turns: a step goes down the forget loss alone, then so many steps go down the retain loss alone.

Yao et al. (2024, arXiv:2402.15159), one to one. Not a combination of gradients: each turn is an optimizer step of
its own, at half the cost of both. The moments of an adaptive optimizer see the two kinds in turn. The forget loss
comes first, at step 0.
"""

from typing import Literal

from pydantic import Field, PositiveInt
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment

MODE: Literal["turns"] = "turns"


class Config(Section):
    """How much each gradient counts in its turn, and how the turns follow each other."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)
    retain_steps_per_forget_step: PositiveInt


def turn(step: int, config: Config) -> Literal["forget", "retain"]:
    """Whose turn it is at ``step``, from 0."""
    return "forget" if step % (config.retain_steps_per_forget_step + 1) == 0 else "retain"


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ g_f + α g_r, one of which is zero; γ and α the weights; put into ``forget``."""
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        forget_gradient.mul_(config.forget_weight).add_(retain_gradient, alpha=config.retain_weight)
    return forget
