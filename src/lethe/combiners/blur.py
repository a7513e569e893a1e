"""BLUR (Reisizadeh et al., 2025, arXiv:2506.08164): the retain gradient gives way to the forget gradient.

Bi-level: forgetting is the lower problem, and what is retained may only choose among ways to forget. With
all weights as one vector the step is γ g_f + α (g_r − ⟨g_r, g_f⟩ / (‖g_f‖² + ε) g_f), γ and α the weights,
whatever the sign of the product: the opposite priority of ``pcgrad``. So ⟨g, g_f⟩ = γ ‖g_f‖² up to ε, which
is never negative, while ⟨g, g_r⟩ may be.

Deviation: the release divides by ‖g_f‖² as it is; ε keeps a forget gradient of zero from dividing by it.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment, inner

MODE: Literal["separate"] = "separate"


class Config(Section):
    """How much each gradient counts."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)
    epsilon: float = Field(gt=0)  # added to ‖g_f‖²


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ g_f + α (projected g_r); put into ``forget``."""
    along = inner(retain, forget) / (inner(forget, forget) + config.epsilon)
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        forget_gradient.mul_(config.forget_weight - config.retain_weight * along)
        forget_gradient.add_(retain_gradient, alpha=config.retain_weight)
    return forget
