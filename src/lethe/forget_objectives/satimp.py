"""SatImp (Yang et al., 2025, arXiv:2505.11953): ascent weighed by saturation and importance of a token.

Gradient ascent with each token weighed by p_θ(y_t)^β₁ (1 − p_θ(y_t))^β₂, through which no gradient flows: it
lets go of tokens that are forgotten and of tokens that are certain, and pulls most at p = β₁ / (β₁ + β₂).
With β₁ = β₂ = 0 it is gradient ascent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from torch import Tensor

from lethe import losses
from lethe.batches import Batch
from lethe.config import Section
from lethe.losses import Context

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

REFERENCE: Literal["none"] = "none"
UNIT: Literal["token"] = "token"


class Config(Section):
    """How the pull on a token depends on its probability."""

    beta1: float = Field(ge=0)  # power of p: how soon the pull fades as a token becomes unlikely
    beta2: float = Field(ge=0)  # power of 1 − p: how far tokens that are certain are left alone


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean over target tokens of p^β₁ (1 − p)^β₂ log p, the weight held fixed: a scalar in (-inf, 0], to minimise."""
    log_probs = losses.target_log_probs(model, batch)
    known = log_probs.detach()
    weights = (config.beta1 * known).exp() * (-known.expm1()).pow(config.beta2)
    return losses.token_mean(weights * log_probs)
