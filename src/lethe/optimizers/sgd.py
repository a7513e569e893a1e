"""Stochastic gradient descent with momentum: steps as long as the gradient.

v ← momentum v + (g + weight_decay θ), θ ← θ − lr v. So, other than with AdamW, a large gradient is a large
step, and a combiner's weights and scale count in full. Weight decay is the L2 penalty: it goes through the
momentum.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from lethe.config import Section

GRADIENT: Literal["plain"] = "plain"


class Config(Section):
    """Step size, memory and decay of the weights."""

    lr: float = Field(gt=0)  # the peak; training.schedule multiplies it
    momentum: float = Field(ge=0, lt=1)  # 0: no memory
    weight_decay: float = Field(ge=0)  # at rest a weight loses lr × weight_decay of itself a step


def build(parameters: list[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """The optimizer over ``parameters``, with momentum in their dtype."""
    return torch.optim.SGD(parameters, **config.model_dump())
