"""The weighted sum of the two gradients: what minimising ``forget_weight`` L_f + ``retain_weight`` L_r does.

Nothing keeps the forget gradient from hurting what is to be kept.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment

MODE: Literal["joint"] = "joint"


class Config(Section):
    """How much each of the two gradients counts."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ g_f + α g_r, γ and α the weights; put into ``forget``."""
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        forget_gradient.mul_(config.forget_weight).add_(retain_gradient, alpha=config.retain_weight)
    return forget
