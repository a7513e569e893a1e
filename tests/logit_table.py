"""A model that answers whatever it is told: its logits are its parameters. For worked examples of losses."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lethe import batches
from lethe.batches import Batch, Example


class LogitTable(nn.Module):
    """A causal model without layers: ``logits`` [batch, time, vocabulary] are free parameters."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    @property
    def base_model(self) -> "LogitTable":
        return self

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits)


def answers(*lengths: int, prompt: int = 2, vocabulary: int = 5) -> Batch:
    """A batch with one answer of each length after prompts of ``prompt`` tokens, padded to one width."""
    sequences = [[(row + time) % vocabulary for time in range(prompt + length)] for row, length in enumerate(lengths)]
    examples = [
        Example(f"row-{row}", tuple(ids), length, True)
        for row, (ids, length) in enumerate(zip(sequences, lengths, strict=True))
    ]
    return batches.collate(examples, pad=0)


def assigning(batch: Batch, probabilities: list[float], vocabulary: int = 5) -> LogitTable:
    """A model that gives each target of the batch, in order, this probability and shares the rest out evenly."""
    wanted = torch.tensor(probabilities, dtype=torch.float64)
    at_targets = ((1 - wanted) / (vocabulary - 1)).log().unsqueeze(1).repeat(1, vocabulary)
    at_targets[torch.arange(len(wanted)), batch.targets] = wanted.log()
    logits = torch.randn(*batch.input_ids.shape, vocabulary, generator=torch.Generator().manual_seed(0))
    logits[batch.predicts] = at_targets.float()
    return LogitTable(logits)
