"""Mismatched answers (LLMU, Yao et al., 2023, arXiv:2310.10683): learn answers to other questions.

The loss is the NLL of answers that belong elsewhere: of retain questions (LLMU), of other forget questions
(SSU, arXiv:2406.10952), or the row's own false answers. They are drawn anew in every step; none is the row's
own answer. It is 0 when the wrong answers are certain, which more than one cannot be.

Deviation: every wrong answer counts the same whatever its length, as in the release of LLMU; others average
over tokens.
"""

from __future__ import annotations

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
    """An answer that is wrong for the question."""

    kind: Literal["forget_answer", "retain_answer", "alternate"]


class Config(Section):
    """Which wrong answers, and how many for a question."""

    substitute: Substitute


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean over wrong answers of their mean NLL, in nats: a scalar in [0, inf), to minimise."""
    assert batch.substitute is not None
    return losses.mean_nll(model, batch.substitute)
