"""WAGLE (Jia et al., 2024, arXiv:2410.17509): single weights move by what they do to forgetting, fixed for the run.

S = |(θ_o − g_r / μ) ⊙ g_f|, with g_f and g_r the forget and the retain gradient at θ_o, each summed over its rows,
and μ a number in place of the diagonal of the retain Hessian: how much the forget loss changes when the weight is
taken away, less what the retain loss would put back. The highest scores move. A tie with the last of them moves too,
so with many zero scores (embeddings of tokens that no row has) more than the fraction may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat
from torch import Tensor

from lethe import thresholds
from lethe.config import Section
from lethe.masking import Signals, whole
from lethe.thresholds import Threshold

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

SIGNALS: frozenset[str] = frozenset({"forget_gradient", "retain_gradient"})


class Config(Section):
    """How much retaining counts in a score, and how many weights move."""

    mu: PositiveFloat  # the smaller, the more retaining counts
    fraction: float = Field(gt=0, le=1)  # of all weights, those with the highest scores


def select(model: PreTrainedModel, config: Config, signals: Signals) -> dict[str, bool | Tensor]:
    """Parameter name to the elements that may move. Raises NotFiniteError for a score that is not finite."""
    forget, retain = signals["forget_gradient"], signals["retain_gradient"]
    scores = {
        name: ((weight.detach() - retain[name] / config.mu) * forget[name]).abs()
        for name, weight in model.named_parameters()
    }
    threshold = Threshold(kind="top_fraction", value=config.fraction)
    return {name: whole(choice) for name, choice in thresholds.high(scores, threshold).items()}
