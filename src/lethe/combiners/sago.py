"""SAGO, sign-aligned gating (2026, arXiv:2604.14808): no coordinate ever moves against the retain gradient.

Where the two gradients have opposite signs only the retain gradient is kept, everywhere else only the forget
gradient. So g · g_r ≥ 0 in every coordinate, and this survives any positive rescaling of coordinates (as
Adam's), which the guarantee of PCGrad does not.

A zero in either counts as agreement. Where the forget gradient is zero, as in embedding rows of tokens that
the forget batch does not hold, paper and release therefore drop the retain gradient (``zero_policy:
paper``); ``retain`` keeps it.

Deviation: signs are compared, not the sign of the product, which underflows to zero for small gradients.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lethe.config import Section
from lethe.moments import Moment

MODE: Literal["separate"] = "separate"


class Config(Section):
    """How much each gradient counts, and which one is kept where the forget gradient is zero."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)
    zero_policy: Literal["paper", "retain"]


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """In each coordinate α g_r or γ g_f, γ and α the weights; put into ``forget``."""
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        kept = _where_retain_is_kept(forget_gradient, retain_gradient, config)
        forget_gradient.mul_(config.forget_weight)
        forget_gradient.copy_(torch.where(kept, config.retain_weight * retain_gradient, forget_gradient))
    return forget


def _where_retain_is_kept(forget: Tensor, retain: Tensor, config: Config) -> Tensor:
    conflict = (forget.signbit() != retain.signbit()) & (forget != 0) & (retain != 0)
    return conflict if config.zero_policy == "paper" else conflict | (forget == 0)
