"""RMU, representation misdirection (Li et al., 2024, arXiv:2403.03218): forget text becomes noise in one layer.

With h the residual stream after block ``layer`` where a target token is predicted, and u a random unit
vector with no negative entry, drawn once from the run's seed, the loss is the mean of ‖h − c u‖² / d over
the target positions and the d entries: 0 where every forget token is the same point. No block above the
layer runs, and no label is looked at. The paper moves the down-projections of three blocks (mask ``layers``)
and holds the stream of retain text with the retain objective ``activation_mse``.

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

REFERENCE: Literal["none"] = "none"
UNIT: Literal["token"] = "token"


class Config(Section):
    """Which layer is misdirected, and how far."""

    layer: NonNegativeInt  # block whose output it is, from 0
    coefficient: PositiveFloat  # c, the norm of the point that forget text is sent to


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean squared distance from the point, a dimension: a scalar in [0, inf), to minimise.

    Raises ConfigError when the model has no such layer.
    """
    stream = losses.block_outputs(model, batch, config.layer)
    return losses.distance_from_steering_point(stream, config.coefficient, context.seed)
