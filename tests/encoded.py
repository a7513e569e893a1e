"""Questions with answers, tokenised for the tiny model."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from lethe import batches, losses
from lethe.batches import Batch, Example
from tests.tiny import tiny_tokenizer


def examples(pairs: Iterable[tuple[str, str]], reference: PreTrainedModel | None = None) -> list[Example]:
    """The pairs of question and answer, with the answers' log-probability under ``reference`` if there is one."""
    rows = [
        batches.encode_pair(tiny_tokenizer(), question, answer, row=question, max_length=64, system_prompt=None)
        for question, answer in pairs
    ]
    if reference is None:
        return rows
    values = log_probs(reference, collated(rows)).tolist()
    return [replace(row, reference_log_prob=value) for row, value in zip(rows, values, strict=True)]


def collated(rows: Sequence[Example], pad: int | None = None) -> Batch:
    """The examples as one batch, padded with the tokenizer's own token unless another is given."""
    return batches.collate(rows, pad=tiny_tokenizer().pad_token_id if pad is None else pad)


@torch.no_grad()
def log_probs(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Summed log-probability of every answer: [batch]."""
    return losses.sequence_sums(losses.target_log_probs(model, batch), batch)
