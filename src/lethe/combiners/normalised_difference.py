"""Normalised difference, NGDiff (Bu et al., 2024, arXiv:2410.22086): both gradients at length 1, then summed.

γ g_f / ‖g_f‖ + α g_r / ‖g_r‖, all weights as one vector, so that neither task drowns the other whatever the
scale of its loss. With equal weights ⟨g, g_f⟩ = γ (1 + cos) ‖g_f‖ ≥ 0, and the same for g_r: to first order
no loss ever rises. A gradient of zero stays zero. The step's length is no measure of progress any more:
it never shrinks at an optimum, so the learning rate has to.

Deviation: the paper finds the learning rate as it goes (GeN); here it is the optimizer's and the schedule's.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment, inner

MODE: Literal["separate"] = "separate"


class Config(Section):
    """How long each gradient is made."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ g_f / ‖g_f‖ + α g_r / ‖g_r‖, γ and α the weights; put into ``forget``."""
    forget_factor = _factor(forget, config.forget_weight)
    retain_factor = _factor(retain, config.retain_weight)
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        forget_gradient.mul_(forget_factor).add_(retain_gradient, alpha=retain_factor)
    return forget


def _factor(gradient: list[Tensor], length: float) -> float:
    norm = inner(gradient, gradient) ** 0.5
    return length / norm if norm > 0 else 0.0
