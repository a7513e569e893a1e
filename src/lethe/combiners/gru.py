"""GRU, gradient rectified unlearning (Wang et al., 2025, arXiv:2503.09117): PCGrad against a smoothed retain gradient.

The retain gradient is averaged over the steps, ḡ ← ρ g_r + (1 − ρ) ḡ from ḡ = 0, and all weights are one
vector. Where ⟨g_f, ḡ⟩ < 0 the forget gradient loses ⟨g_f, ḡ⟩ / ‖ḡ‖² ḡ and is orthogonal to ḡ. What counts
is then γ (rectified g_f) + α g_r; with α = 0, the paper's plain form, the retain rows only steer.

``lowest_cosine`` is an option of the release: a conflict is never taken for stronger than that cosine, so
that of a strong one a part is left. Products are fp64, as in the release.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment, inner

MODE: Literal["separate"] = "separate"


class Config(Section):
    """How much each gradient counts, how quickly the average follows, and how much conflict is taken away."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)  # of the current retain gradient, unsmoothed
    smoothing: float = Field(gt=0, le=1)  # ρ, the share of the current step in the average; 1: no memory
    lowest_cosine: float | None = Field(ge=-1, le=0)  # the release: -0.5; null: all conflict is taken away


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ (rectified g_f) + α g_r, γ and α the weights; put into ``forget``."""
    averages = [_averaged(index, gradient, config, moment) for index, gradient in enumerate(retain)]
    against = _against(forget, averages, config)
    for forget_gradient, retain_gradient, average in zip(forget, retain, averages, strict=True):
        forget_gradient.sub_(average, alpha=against).mul_(config.forget_weight)
        forget_gradient.add_(retain_gradient, alpha=config.retain_weight)
    return forget


def _averaged(index: int, gradient: Tensor, config: Config, moment: Moment) -> Tensor:
    name = f"gru.{index}"
    before = moment.memory.get(name)
    now = config.smoothing * gradient
    moment.memory[name] = now if before is None else now.add_(before, alpha=1 - config.smoothing)
    return moment.memory[name]


def _against(forget: list[Tensor], averages: list[Tensor], config: Config) -> float:
    # How much of the average leaves the forget gradient: below zero in conflict, else zero.
    product = inner(forget, averages)
    if product >= 0:
        return 0.0
    square = inner(averages, averages)
    if config.lowest_cosine is not None:
        product = max(product, config.lowest_cosine * (inner(forget, forget) * square) ** 0.5)
    return product / square
