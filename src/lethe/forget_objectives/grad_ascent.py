"""Gradient ascent, GA (Jang et al., 2022, arXiv:2210.01504): make every forget token less likely, without end.

The loss is the mean natural-log probability of the target tokens of the batch, the negative of the NLL: 0
for answers known for certain, falling without bound as they are forgotten. Its pull does not fade as a token
becomes unlikely, which is why it breaks the model when nothing holds it back.
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
    """Gradient ascent has nothing to choose."""


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean log-probability over all target tokens of the batch: a scalar in (-inf, 0], to minimise."""
    return losses.token_mean(losses.target_log_probs(model, batch))
