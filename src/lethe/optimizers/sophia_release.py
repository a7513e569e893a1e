"""Sophia as the code of SOUL has it (Jia et al., 2024, arXiv:2404.18239), which its published numbers come from.

It differs from the paper's rule (``sophia``, arXiv:2305.14342) in four ways, kept here:
- no labels are drawn: h ← β₂ h + (1 − β₂) g² in every step, with the recipe's own gradient g;
- the momentum is updated twice with the same gradient, so that it decays by β₁²;
- θ ← (1 − lr weight_decay) θ − lr sign(m) min(|m| / (ρ B h + ε), 1), where B, "the batch", is a constant of
  the optimizer (5120) that no caller sets;
- only matrices decay: no bias and no scale of a norm.

With the released numbers a weight is clipped at first where |g| < 0.0186, later where |g| < 0.005 or so,
which is nearly everywhere: it is close to sign momentum (``sign_momentum``). Each step tells
``unclipped_fraction``, the share of weights that are not clipped.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from lethe import stepping
from lethe.config import Section
from lethe.moments import Probe

GRADIENT: Literal["own"] = "own"

Decay = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """Step size, memories, and how much the squared gradient counts."""

    lr: float = Field(gt=0)  # the peak; training.schedule multiplies it
    betas: tuple[Decay, Decay]  # of the gradient (twice a step), of its square
    rho: float = Field(gt=0)
    batch: float = Field(gt=0)  # B; the release: 5120, whatever the batch is
    eps: float = Field(gt=0)
    weight_decay: float = Field(ge=0)  # decoupled: a matrix loses lr × weight_decay of itself a step


def build(parameters: list[nn.Parameter], config: Config) -> stepping.Optimizer:
    """The optimizer over ``parameters``, with both memories in their dtype."""
    return stepping.Optimizer(parameters, config, _move)


def gradients(plain: stepping.Gradients, probe: Probe, optimizer: stepping.Optimizer) -> stepping.Gradients:
    """The plain gradient; its numbers tell how much of it was not clipped."""

    def unclipped(state: dict[str, Tensor]) -> Tensor:
        return state["momentum"].abs() < _scale(state, optimizer.config)

    return stepping.telling(plain, optimizer, "unclipped_fraction", lambda: stepping.share(optimizer, unclipped))


def _move(parameter: nn.Parameter, gradient: Tensor, state: dict[str, Tensor], lr: float, config: Config) -> None:
    momentum, square = (stepping.kept(state, name, parameter) for name in ("momentum", "square"))
    fast, slow = config.betas
    momentum.lerp_(gradient, 1 - fast).lerp_(gradient, 1 - fast)
    square.mul_(slow).addcmul_(gradient, gradient, value=1 - slow)
    step = (momentum / _scale(state, config)).clamp_(-1, 1)
    if parameter.ndim > 1:
        parameter.mul_(1 - lr * config.weight_decay)
    parameter.sub_(step, alpha=lr)


def _scale(state: dict[str, Tensor], config: Config) -> Tensor:
    return (config.rho * config.batch * state["square"]).add_(config.eps)
