"""Mixtures of two models, and how far an edit goes: as far as keeps as much as was asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lethe import distribution
from lethe.config import Section

logger = logging.getLogger(__name__)


class Search(Section):
    """How finely a share is sought."""

    grid: PositiveInt  # steps from 0 to 1
    bisections: NonNegativeInt


class Budget(Section):
    """The largest strength of an edit at which the perplexity of rows that are to be kept stays within a budget.

    ``largest`` is halved until it does, at most ``halvings`` times (then the strength is 0), and the last factor of two
    is bisected.
    """

    perplexity_ratio: Annotated[float, Field(gt=1)]  # perplexity may grow to so many times its value
    largest: PositiveFloat
    halvings: PositiveInt
    bisections: NonNegativeInt


def mix(model: nn.Module, original: dict[str, Tensor], unlearned: dict[str, Tensor], share: float) -> None:
    """Put the model at (1 − ``share``) × ``original`` + ``share`` × ``unlearned``; 0 and 1 give their very bits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            begin = distribution.spread_like(original[name], parameter)
            torch.lerp(begin, unlearned[name], share, out=parameter.data)


def largest(keeps: Callable[[float], bool], search: Search) -> float:
    """The largest share found that keeps enough: the highest point of the grid, then halves of the step above it.

    0 always does, so it is not tried.
    """
    tried = (point for point in range(search.grid, 0, -1) if keeps(point / search.grid))
    low = next(tried, 0) / search.grid
    high = min(1.0, low + 1 / search.grid)
    for _ in range(search.bisections if low < 1 else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def within(ratio: Callable[[float], float], budget: Budget) -> float:
    """The largest strength found at which ``ratio`` is within the budget; a ratio that is not finite is not."""
    strengths = (budget.largest / 2**power for power in range(budget.halvings + 1))
    low = next((strength for strength in strengths if ratio(strength) <= budget.perplexity_ratio), 0.0)
    high = 2 * low
    for _ in range(budget.bisections if 0 < low < budget.largest else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(middle) <= budget.perplexity_ratio else (low, middle)
    return low


def tell_bounds(strength: float, budget: Budget, title: str) -> None:
    """Say so where the limits of a search decided what :func:`within` found, and not its budget."""
    if strength == budget.largest:
        logger.warning(
            "%s: the search ended at search.largest, %g, with the perplexity still within the budget of %g times; "
            "raise it if more is to be forgotten.",
            title,
            budget.largest,
            budget.perplexity_ratio,
        )
    elif strength == 0:
        logger.warning(
            "%s: even %.3g, search.largest after %d halvings, takes the perplexity beyond the budget of %g times, so "
            "that nothing is changed; raise search.halvings or search.perplexity_ratio.",
            title,
            budget.largest / 2**budget.halvings,
            budget.halvings,
            budget.perplexity_ratio,
        )


def extraction_strength(hits: Tensor) -> float:
    """Share of the longest end of all hits [tokens, bool]; 0 without a token."""
    return float(hits.flip(0).long().cumprod(0).sum() / max(1, len(hits)))
