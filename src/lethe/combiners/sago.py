"""SAGO, sign-aligned gating (2026, arXiv:2604.14808): no coordinate ever moves against the retain gradient.

Where the two gradients have opposite signs only the retain gradient is kept, everywhere else only the forget
gradient (``form: paper``) or the sum of both (``form: prefer_retain``, a variant of the release). So g · g_r ≥ 0
in every coordinate, and this survives any positive rescaling of coordinates (as Adam's), which the guarantee
of PCGrad does not.

A zero in either counts as agreement. Where the forget gradient is zero, as in embedding rows of tokens that
the forget batch does not hold, paper and release therefore drop the retain gradient (``zero_policy:
paper``); ``retain`` keeps it. The form ``prefer_retain`` keeps it under either policy.

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
    """How much each gradient counts, and which one is kept where they agree or the forget gradient is zero."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)
    form: Literal["paper", "prefer_retain"]  # where they agree: the forget gradient alone, or both
    zero_policy: Literal["paper", "retain"]


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """In each coordinate α g_r, or γ g_f, or their sum, γ and α the weights; put into ``forget``."""
    for forget_gradient, retain_gradient in zip(forget, retain, strict=True):
        kept = _where_retain_is_kept(forget_gradient, retain_gradient, config)
        weighed = config.retain_weight * retain_gradient
        forget_gradient.mul_(config.forget_weight)
        if config.form == "prefer_retain":
            forget_gradient.add_(weighed)
        forget_gradient.copy_(torch.where(kept, weighed, forget_gradient))
    return forget


def _where_retain_is_kept(forget: Tensor, retain: Tensor, config: Config) -> Tensor:
    conflict = (forget.signbit() != retain.signbit()) & (forget != 0) & (retain != 0)
    return conflict if config.zero_policy == "paper" else conflict | (forget == 0)
