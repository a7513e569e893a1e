"""Sign momentum, signum (Bernstein et al., 2018, arXiv:1802.04434): every weight moves by ``lr``, up or down.

m ← momentum m + (1 − momentum) g, θ ← (1 − lr weight_decay) θ − lr sign(m). The control for Sophia, which in
its released form is nearly this on most weights, and the "1-bit" optimizer of "Downgrade to upgrade" (Lang
et al., 2025, arXiv:2510.00761), whose unlearning survives quantization better. A weight whose momentum is
zero stays.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from lethe import stepping
from lethe.config import Section

GRADIENT: Literal["plain"] = "plain"


class Config(Section):
    """Step size, memory and decay of the weights."""

    lr: float = Field(gt=0)  # the peak; training.schedule multiplies it
    momentum: float = Field(ge=0, lt=1)  # 0: the sign of the gradient itself
    weight_decay: float = Field(ge=0)  # decoupled: a weight loses lr × weight_decay of itself a step


def build(parameters: list[nn.Parameter], config: Config) -> stepping.Optimizer:
    """The optimizer over ``parameters``, with momentum in their dtype."""
    return stepping.Optimizer(parameters, config, _move)


def _move(parameter: nn.Parameter, gradient: Tensor, state: dict[str, Tensor], lr: float, config: Config) -> None:
    momentum = stepping.kept(state, "momentum", parameter)
    momentum.lerp_(gradient, 1 - config.momentum)
    parameter.mul_(1 - lr * config.weight_decay).sub_(momentum.sign(), alpha=lr)
