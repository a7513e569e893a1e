"""Logit lens: whether the answer can be read from a block in the middle, though the last one no longer says it.

The model's own last norm and head read what each block hands on (nostalgebraist, 2020; as an unlearning attack in
"Eight methods to evaluate robust unlearning in LLMs", arXiv:2402.16835). Reported is the mean length-normalised
probability of the true answer at the block at which it is largest. The block is chosen on half of the clusters and
read on the other half: chosen and read on the same questions, some block always looks good.

The retain model is read in the same way, at a block of its own: what it shows is what anybody could guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lethe import losses, models, residuals, statistics
from lethe.config import Section
from lethe.records import FORGET
from lethe.residuals import Subjects
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """The lens has nothing to choose."""


def probe(subjects: Subjects, config: Config, bootstrap: Bootstrap) -> dict[str, Score | list[float]]:
    """The lens on the unlearned and on the retain model, their difference, and the mean of every block of both."""
    unlearned, retain = (_probabilities(subjects, model) for model in (subjects.unlearned, subjects.retain))
    clusters = [question.cluster for question in subjects.questions]
    tested = held_out(clusters)
    asked = [question for question, test in zip(subjects.questions, tested, strict=True) if test]
    identity = tuple(question.id for question in asked), tuple(question.cluster for question in asked)
    read = [Values(FORGET, *identity, chosen(found, tested)) for found in (unlearned, retain)]
    scores: list[Score] = statistics.means(read, bootstrap)
    return {
        "logit_lens": scores[0],
        "logit_lens_retain": scores[1],
        "logit_lens_difference": statistics.difference(read[0], read[1], bootstrap),
        "probability_by_block": unlearned.mean(axis=1).tolist(),
        "retain_probability_by_block": retain.mean(axis=1).tolist(),
    }


def held_out(clusters: list[str]) -> np.ndarray:
    """For each question whether it is read, not used for the choice: every second cluster, in order of appearance."""
    order = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    return np.array([order[cluster] % 2 == 1 for cluster in clusters], dtype=bool)


def chosen(found: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """The numbers of the tested questions at the block with the largest mean over the others."""
    if tested.all() or not tested.any():  # a single cluster cannot be divided
        return np.full(int(tested.sum()), np.nan)
    return np.asarray(found[found[:, ~tested].mean(axis=1).argmax()][tested])


def _probabilities(subjects: Subjects, model: PreTrainedModel) -> np.ndarray:
    """exp(mean log-probability) of each answer as the lens reads it: [blocks, questions]."""
    columns = []
    for batch in subjects.batched([question.answer for question in subjects.questions]):
        read = [residuals.lens(model, batch, block) for block in range(len(models.blocks(model)))]
        columns.append(torch.stack([losses.sequence_means(log_probs, batch).exp() for log_probs in read]))
    return np.asarray(torch.cat(columns, dim=1).double().cpu().numpy())
