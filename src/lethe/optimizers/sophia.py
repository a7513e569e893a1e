"""Sophia as published (Liu et al., 2024, arXiv:2305.14342), the optimizer of SOUL (Jia et al., 2024, arXiv:2404.18239).

m ← β₁ m + (1 − β₁) g in every step; every ``hessian_steps`` steps H ← β₂ H + (1 − β₂) ĥ; then
θ ← (1 − lr weight_decay) θ − lr clip(m / max(γ H, ε), 1), element by element, γ the ``hessian_scale``. g is
the gradient of the whole recipe, combined. So no weight moves by more than lr, and flat ones move furthest.

ĥ is the Gauss-Newton-Bartlett estimate of the curvature: B ĝ², ĝ the gradient of the mean NLL of labels that
the model itself draws at the B target positions of the step, forget and retain. It costs one more forward
and backward each time. The released optimizer of SOUL is another one: ``sophia_release``.

Each step tells ``unclipped_fraction``, the share of weights that are not clipped, those without a gradient
among them; Sophia's authors want 0.1 to 0.5. Near 0 it is sign momentum.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lethe import stepping
from lethe.config import Section
from lethe.moments import Probe

GRADIENT: Literal["own"] = "own"

Decay = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """Step size, memory of gradient and curvature, and how much the curvature counts."""

    lr: float = Field(gt=0)  # the peak; training.schedule multiplies it
    betas: tuple[Decay, Decay]  # of the gradient, of the curvature
    hessian_scale: float = Field(gt=0)  # γ; the larger, the fewer weights are clipped
    eps: float = Field(gt=0)
    weight_decay: float = Field(ge=0)  # decoupled: a weight loses lr × weight_decay of itself a step
    hessian_steps: PositiveInt  # from one estimate of the curvature to the next


def build(parameters: list[nn.Parameter], config: Config) -> stepping.Optimizer:
    """The optimizer over ``parameters``, with both memories in their dtype."""
    return stepping.Optimizer(parameters, config, _move)


def gradients(plain: stepping.Gradients, probe: Probe, optimizer: stepping.Optimizer) -> stepping.Gradients:
    """The plain gradient, and before it, when its time has come, an estimate of the curvature."""
    config: Config = optimizer.config

    def gradient(step: int) -> dict[str, float]:
        if step % config.hessian_steps == 0:
            _look_at_the_curvature(probe, step, optimizer)
        return plain(step)

    def unclipped(state: dict[str, Tensor]) -> Tensor:
        return state["momentum"].abs() < _scale(state, config)

    return stepping.telling(gradient, optimizer, "unclipped_fraction", lambda: stepping.share(optimizer, unclipped))


def _look_at_the_curvature(probe: Probe, step: int, optimizer: stepping.Optimizer) -> None:
    parameters = [parameter for parameter in probe.parameters if parameter.requires_grad]
    drawn, count = probe.sampled_gradient(step)
    slow = optimizer.config.betas[1]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, drawn, strict=True):
            curvature = stepping.kept(optimizer.state[parameter], "curvature", parameter)
            curvature.mul_(slow).addcmul_(gradient, gradient, value=(1 - slow) * count)


def _move(parameter: nn.Parameter, gradient: Tensor, state: dict[str, Tensor], lr: float, config: Config) -> None:
    momentum, _ = (stepping.kept(state, name, parameter) for name in ("momentum", "curvature"))
    momentum.lerp_(gradient, 1 - config.betas[0])
    step = (momentum / _scale(state, config)).clamp_(-1, 1)
    parameter.mul_(1 - lr * config.weight_decay).sub_(step, alpha=lr)


def _scale(state: dict[str, Tensor], config: Config) -> Tensor:
    return (config.hessian_scale * state["curvature"]).clamp_(min=config.eps)
