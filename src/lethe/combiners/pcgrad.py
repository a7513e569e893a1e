"""Retention-prioritised PCGrad: the forget gradient loses its part that points against the retain gradient.

SAGO paper (2026, arXiv:2604.14808) after PCGrad (Yu et al., 2020, arXiv:2001.06782). Original PCGrad
projects both gradients off each other in random order; here the retain gradient is never touched. For a
group of parameters with ⟨g_f, g_r⟩ < 0 the forget gradient becomes g_f − ⟨g_f, g_r⟩ / (‖g_r‖² + ε) g_r,
orthogonal to g_r up to ε; then the two are summed with their weights. Without conflict it is the plain sum;
where g_r is zero, γ g_f is left.

Deviation: the release sums in the dtype of the gradients; here dot products are fp32, and their sums over
tensors fp64.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lethe import distribution
from lethe.config import Section
from lethe.moments import Moment

MODE: Literal["separate"] = "separate"


class Config(Section):
    """How much each gradient counts, and what is projected as one vector."""

    forget_weight: float = Field(ge=0)
    retain_weight: float = Field(ge=0)
    scope: Literal["per_tensor", "global"]  # each tensor by itself, or all tensors as one long vector
    epsilon: float = Field(gt=0)  # added to ‖g_r‖²: where that is small beside it, less is projected


def combine(forget: list[Tensor], retain: list[Tensor], config: Config, moment: Moment) -> list[Tensor]:
    """Tensor by tensor γ (projected g_f) + α g_r, γ and α the weights; put into ``forget``."""
    coefficients = _coefficients(forget, retain, config)
    for forget_gradient, retain_gradient, coefficient in zip(forget, retain, coefficients, strict=True):
        forget_gradient.addcmul_(retain_gradient, coefficient.to(forget_gradient), value=-1)
        forget_gradient.mul_(config.forget_weight).add_(retain_gradient, alpha=config.retain_weight)
    return forget


def _coefficients(forget: list[Tensor], retain: list[Tensor], config: Config) -> list[Tensor]:
    # How much of each retain gradient leaves the forget gradient, fp64: below zero in conflict, else zero.
    products = [(_dot(*pair), _dot(pair[1], pair[1])) for pair in zip(forget, retain, strict=True)]
    dots, squares = (torch.stack(found) for found in zip(*products, strict=True))
    if config.scope == "global":
        dots, squares = dots.sum().expand_as(dots), squares.sum().expand_as(squares)
    return list((dots.clamp(max=0) / (squares + config.epsilon)).unbind())


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return distribution.dot(left.float(), right.float()).double()
