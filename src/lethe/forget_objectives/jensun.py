"""JensUn, forget side (Singh et al., 2025, arXiv:2509.02820): refuse, by a divergence that is bounded.

The Jensen-Shannon divergence of p_θ from certainty of a refusal's token, where that token is predicted: log
2 where the token is impossible, 0 where it is certain. Against a one-hot distribution it depends on p, the
token's probability, alone: log 2 + ½ (p log p − (1 + p) log(1 + p)). So its pull fades at both ends; a
refusal that is most unlikely is learnt slowly. The retain side of the paper is the same divergence from the
model before.

Deviation: every refusal counts the same whatever its length, and the sentences are Lethe's own list.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from lethe import losses, substitutes
from lethe.batches import Batch
from lethe.config import Section
from lethe.losses import Context

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

REFERENCE: Literal["none"] = "none"
UNIT: Literal["sequence"] = "sequence"


class Substitute(substitutes.Config):
    """A refusal in place of the answer."""

    kind: Literal["refusal"]


class Config(Section):
    """How many refusals a question gets."""

    substitute: Substitute


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean over refusals of the mean divergence, in nats, at their tokens: a scalar in [0, log 2], to minimise."""
    assert batch.substitute is not None
    divergences = _from_one_hot(losses.target_log_probs(model, batch.substitute))
    return losses.sequence_means(divergences, batch.substitute).mean()


def _from_one_hot(log_probs: Tensor) -> Tensor:
    probabilities = log_probs.exp()
    return math.log(2) + (probabilities * log_probs - (1 + probabilities) * probabilities.log1p()) / 2
