"""MGDA for two tasks (Sener & Koltun, 2018, arXiv:1810.04650): the shortest vector between the two gradients.

With w = ⟨g_r − g_f, g_r⟩ / ‖g_f − g_r‖², clipped to [0, 1], the step is w g_f + (1 − w) g_r, the point
nearest to zero on the segment from g_r to g_f, all weights as one vector. It goes down both losses:
⟨g, g_f⟩ ≥ ‖g‖² and ⟨g, g_r⟩ ≥ ‖g‖², with equality inside the segment. Both tasks are treated alike, so
nothing gives retention priority, and the smaller gradient gets the larger share. Equal gradients share
evenly.

``forget_weight`` and ``retain_weight`` multiply the two parts; the paper has 1 and 1, and with others the
bounds do not hold.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment, inner

MODE: Literal["separate"] = "separate"


class Config(Section):
    """How much each part counts."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ w g_f + α (1 − w) g_r, γ and α the weights; put into ``forget``."""
    share = _share(inner(forget, forget), inner(forget, retain), inner(retain, retain))
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        forget_gradient.mul_(config.forget_weight * share)
        forget_gradient.add_(retain_gradient, alpha=config.retain_weight * (1 - share))
    return forget


def _share(forget_square: float, product: float, retain_square: float) -> float:
    # w, the part of the forget gradient; in fp64, where the distance of nearly equal gradients survives.
    distance = forget_square - 2 * product + retain_square
    if distance <= 0:
        return 0.5
    return min(1.0, max(0.0, (retain_square - product) / distance))
