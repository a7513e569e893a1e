"""Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290): prefer another answer to the one to forget.

With Δ(y) = log p_θ(y) − log p_ref(y), summed over the answer, p_ref the frozen model before unlearning, y_e
the other answer and y_f the true one, the loss is the mean over pairs of −(2/β) log σ(β (Δ(y_e) − Δ(y_f))):
(2/β) log 2 where the model still is the reference, 0 when the other answer is preferred beyond doubt. Its
slope on the difference is −1 at the start. With a refusal as y_e it is IdkDPO (TOFU, arXiv:2401.06121), with
a false answer AltPO (arXiv:2409.13474).

Deviation: the factor 2/β is that of NPO and OpenUnlearning; without it β would scale the learning rate too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from lethe import losses, substitutes
from lethe.batches import Batch
from lethe.config import Section
from lethe.losses import Context

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

REFERENCE: Literal["log_probs"] = "log_probs"
UNIT: Literal["sequence"] = "sequence"


class Substitute(substitutes.Config):
    """One preferred answer for a question."""

    draws: Literal[1]


class Config(Section):
    """How sharply pairs are told apart, and what is preferred."""

    beta: float = Field(gt=0)  # inverse temperature
    substitute: Substitute


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean over pairs of −(2/β) log σ(β (Δ(y_e) − Δ(y_f))): a scalar in (0, inf), to minimise."""
    assert batch.substitute is not None
    answers, others = losses.pair_log_probs(model, batch, context)
    margins = _log_ratios(others, batch.substitute) - _log_ratios(answers, batch)
    return -2 / config.beta * functional.logsigmoid(config.beta * margins).mean()


def _log_ratios(log_probs: Tensor, batch: Batch) -> Tensor:
    assert batch.reference_log_probs is not None
    return losses.sequence_sums(log_probs, batch) - batch.reference_log_probs
