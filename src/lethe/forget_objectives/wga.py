"""Weighted gradient ascent (Wang et al., 2025, arXiv:2502.19301): ascent that lets go of what is forgotten.

Gradient ascent with each token weighed by p_θ(y_t)^β, through which no gradient flows: at β = 0 it is
gradient ascent, and above the pull on a token fades as the token becomes unlikely. Where all is forgotten
the loss is 0; it has no minimum that it heads for, only a gradient.
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
    """How soon the pull on a token fades."""

    beta: float = Field(ge=0)  # power of the probability


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean over target tokens of p^β log p, the weight held fixed: a scalar in (-inf, 0], to minimise."""
    log_probs = losses.target_log_probs(model, batch)
    weights = (config.beta * log_probs.detach()).exp()
    return losses.token_mean(weights * log_probs)
