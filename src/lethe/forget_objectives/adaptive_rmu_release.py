"""Adaptive RMU as its code has it (Dang et al., 2024, arXiv:2408.06223): one coefficient, taken from the first batch.

The paper sends each position as many times as far as its own stream was long (``adaptive_rmu``). The release sends all
of them to the same point c u, as ``rmu`` does, with c = s × the mean length of the residual stream over the rows of the
first step, measured before anything is unlearned and kept for the run. So no second model is in memory, and forget text
of all kinds ends in one place.

Deviation: released code takes every position of a text, here it is those that predict a target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor

from lethe import losses
from lethe.batches import Batch
from lethe.config import Section
from lethe.losses import Context

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

REFERENCE: Literal["first_batch"] = "first_batch"
UNIT: Literal["token"] = "token"


class Config(Section):
    """Which layer is misdirected, and how far."""

    layer: NonNegativeInt  # block whose output it is, from 0
    scale: PositiveFloat  # s, in mean norms of the stream before unlearning


def measure(model: PreTrainedModel, batch: Batch, config: Config) -> Tensor:
    """Length of the residual stream where each target is predicted, fp32: [targets].

    Raises ConfigError when the model has no such layer.
    """
    return losses.block_outputs(model, batch, config.layer).norm(dim=-1)


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean squared distance from the point, a dimension: a scalar in [0, inf), to minimise.

    Raises ConfigError when the model has no such layer.
    """
    assert context.first_batch is not None
    stream = losses.block_outputs(model, batch, config.layer)
    return losses.distance_from_steering_point(stream, config.scale * context.first_batch, context.seed)
