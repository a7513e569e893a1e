"""The shared mathematics of objectives: log-probabilities of targets and their sums. Tensors in, tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lethe.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Context:
    """What a loss may use beside the model and the batch.

    ``reference`` is a frozen copy of the model before unlearning, or None; ``seed`` is that of the run, for what is
    drawn once. What is drawn anew in every step comes from torch's own generator, which every step seeds.
    """

    reference: PreTrainedModel | None
    seed: int


def target_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Natural-log probability of every target token, fp32: [targets]."""
    return -torch.nn.functional.cross_entropy(_logits(model, batch), batch.targets, reduction="none")


def log_distributions(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Natural-log probability of every token where a target is predicted, fp32: [targets, vocabulary]."""
    return _logits(model, batch).log_softmax(dim=-1)


def sequence_sums(values: Tensor, batch: Batch) -> Tensor:
    """Sum of a per-token value [targets] over each sequence: [batch]."""
    return torch.zeros(len(batch), dtype=values.dtype, device=values.device).index_add(0, batch.owner, values)


def sequence_means(values: Tensor, batch: Batch) -> Tensor:
    """Mean of a per-token value [targets] over each sequence: [batch]."""
    return sequence_sums(values, batch) / sequence_lengths(batch)


def sequence_lengths(batch: Batch) -> Tensor:
    """Number of target tokens of each sequence: [batch]."""
    return batch.predicts.sum(dim=1)


def token_mean(values: Tensor) -> Tensor:
    """Mean over all target tokens of the batch: a scalar (the reduction of ``outputs.loss`` in transformers)."""
    return values.mean()


def _logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    from lethe import models  # seconds of import, which a stage that needs the settings of a loss alone is spared

    return models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)
