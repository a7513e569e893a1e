"""AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101): steps of about ``lr`` a weight.

Their size hardly depends on the gradient's scale. The moments are those of the combined gradient, after
combiner and clipping. Fused: one pass over the weights, the same rule on CPU and accelerator.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from lethe.config import Section

GRADIENT: Literal["plain"] = "plain"

Decay = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """Step size, memory of the two moments, and decay of the weights."""

    lr: float = Field(gt=0)  # the peak; training.schedule multiplies it
    betas: tuple[Decay, Decay]
    eps: float = Field(gt=0)
    weight_decay: float = Field(ge=0)  # decoupled: a weight loses lr × weight_decay of itself a step


def build(parameters: list[nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """The optimizer over ``parameters``, with fp32 moments for fp32 weights."""
    return torch.optim.AdamW(parameters, **config.model_dump(), fused=True)
