"""Questions with answers, tokenised for the tiny model."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from lethe import batches, losses
from lethe.batches import Batch, Example, Pair
from tests.tiny import tiny_tokenizer


def examples(
    pairs: Iterable[tuple[str, str]], reference: PreTrainedModel | None = None, others: Sequence[str] = ()
) -> list[Example]:
    """The pairs of question and answer, each with ``others`` for substitutes.

    All with the log-probability of the answer under ``reference`` if there is one.
    """
    return [
        replace(
            _pair(question, answer, reference),
            substitutes=tuple(_pair(question, other, reference) for other in others),
        )
        for question, answer in pairs
    ]


def _pair(question: str, answer: str, reference: PreTrainedModel | None) -> Example:
    pair = Pair(question, question, answer)
    (row,) = batches.encode_pairs(tiny_tokenizer(), [pair], max_length=64, system_prompt=None)
    if reference is None:
        return row
    return replace(row, reference_log_prob=log_probs(reference, collated([row])).item())


def collated(rows: Sequence[Example], pad: int | None = None) -> Batch:
    """The examples as one batch, padded with the tokenizer's own token unless another is given."""
    return batches.collate(rows, pad=tiny_tokenizer().pad_token_id if pad is None else pad)


@torch.no_grad()
def log_probs(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Summed log-probability of every answer: [batch]."""
    return losses.sequence_sums(losses.target_log_probs(model, batch), batch)
