"""SAGO, sign-aligned gating (2026, arXiv:2604.14808): no coordinate ever moves against the retain gradient.

Where the two gradients have opposite signs only the retain gradient is kept, everywhere else only the forget
gradient (``form: paper``) or the sum of both (``form: prefer_retain``, a variant of the release). So g · g_r ≥ 0
in every coordinate, and this survives any positive rescaling of coordinates (as Adam's), which the guarantee
of PCGrad does not.

A zero in either counts as agreement. Where the forget gradient is zero, as in embedding rows of tokens that
the forget batch does not hold, paper and release therefore drop the retain gradient (``zero_policy:
paper``); ``retain`` keeps it. The form ``prefer_retain`` keeps it under either policy.

Deviation: signs are compared; the product of small gradients, whose sign the release takes, underflows to zero.
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
    return [_gated(*pair, config) for pair in zip(forget, retain, strict=True)]


def _gated(forget: Tensor, retain: Tensor, config: Config) -> Tensor:
    kept = _where_retain_is_kept(forget, retain, config)
    weighed = config.retain_weight * retain
    forget.mul_(config.forget_weight)
    if config.form == "prefer_retain":
        forget.add_(weighed)
    return torch.where(kept, weighed, forget, out=forget)


def _where_retain_is_kept(forget: Tensor, retain: Tensor, config: Config) -> Tensor:
    # A sign times a number does not underflow; it is below zero where the two disagree, zero where either is zero.
    conflict = forget.sign().mul_(retain) < 0
    return conflict if config.zero_policy == "paper" else conflict | (forget == 0)
