"""Negative log-likelihood of the retain answers: go on learning what is to be kept.

Called GD, GDR, FT or RT in the literature; with gradient ascent it makes gradient difference (Maini et al.,
2024, arXiv:2401.06121). It is 0 when every retain token is certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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
    """The likelihood has nothing to choose."""


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean NLL, in nats, over all target tokens of the batch: a scalar in [0, inf), to minimise."""
    return -losses.token_mean(losses.target_log_probs(model, batch))
