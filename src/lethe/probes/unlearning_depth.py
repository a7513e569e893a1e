"""Unlearning depth: in how much of the network the knowledge is erased, by activation patching.

The residual stream of a source model, at the positions that predict the answer, is put into the target model after
one block at a time. What the target's mean log-probability of the answer loses by it is Δ. With the retain model for a
source, Δ¹ says what a model that never knew would cost; with the unlearned model, Δ² says what this one costs. Over the
blocks with Δ¹ above ``threshold``,

    depth = Σ Δ¹ · clip(Δ²/Δ¹, 0, 1) / Σ Δ¹

0: the states still carry the answer everywhere; 1: as erased as if it had never been learned. A question in which no
block passes the threshold has no depth and is counted as unscored.

Source: unlearning depth score (2026, arXiv:2605.24614). Deviation: that paper patches the positions of entity spans;
here they are all answer positions before the end of turn, so that no spans have to be marked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lethe import losses, residuals, statistics
from lethe.batches import Batch
from lethe.config import Section
from lethe.records import FORGET
from lethe.residuals import Subjects
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Which blocks count."""

    threshold: float = Field(ge=0)  # nats a token that the retain model's states must cost the target


def probe(subjects: Subjects, config: Config, bootstrap: Bootstrap) -> dict[str, Score | list[float]]:
    """The mean depth over the questions, and the mean Δ¹ and Δ² of every block."""
    from_retain, from_unlearned = (_losses(subjects, source) for source in (subjects.retain, subjects.unlearned))
    asked = subjects.questions
    identity = tuple(question.id for question in asked), tuple(question.cluster for question in asked)
    numbers = depths(from_retain, from_unlearned, config.threshold)
    (score,) = statistics.means([Values(FORGET, *identity, numbers)], bootstrap)
    by_block = {"lost_to_retain_states": from_retain, "lost_to_unlearned_states": from_unlearned}
    return {"unlearning_depth": score} | {name: lost.mean(axis=1).tolist() for name, lost in by_block.items()}


def depths(from_retain: np.ndarray, from_unlearned: np.ndarray, threshold: float) -> np.ndarray:
    """Depth of each question from Δ¹ and Δ² [blocks, questions], in [0, 1]; NaN where no block counts."""
    counted = from_retain > threshold
    weights = np.where(counted, from_retain, 0.0)
    shares = np.clip(np.divide(from_unlearned, from_retain, out=np.zeros_like(weights), where=counted), 0.0, 1.0)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights * shares).sum(axis=0) / weights.sum(axis=0))


def _losses(subjects: Subjects, source: PreTrainedModel) -> np.ndarray:
    """What each block's states of ``source`` cost the target: [blocks, questions], nats a token."""
    columns = []
    for batch in subjects.batched([question.answer for question in subjects.questions]):
        with torch.no_grad():
            plain = losses.sequence_means(losses.target_log_probs(subjects.target, batch), batch)
        columns.append(torch.stack([plain - found for found in _patched(subjects, source, batch)]))
    return np.asarray(torch.cat(columns, dim=1).double().cpu().numpy())


def _patched(subjects: Subjects, source: PreTrainedModel, batch: Batch) -> Iterator[Tensor]:
    for block, states in enumerate(residuals.captured(source, batch)):
        yield losses.sequence_means(residuals.patched(subjects.target, batch, block, states), batch)
