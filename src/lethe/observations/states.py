"""Hidden states: what every block hands on at the last token of each answer, true or false.

The vectors ``target``, ``retain`` and ``unlearned`` are [blocks, answers, width], in fp32: 4 · blocks · answers · width
bytes each.
A record has the ``row`` of its answer among the answers and whether it ``is_true``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lethe import observed, residuals
from lethe.config import Section
from lethe.observed import Observed
from lethe.subjects import Subjects, identities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from lethe.batches import Example


class Config(Section):
    """There is nothing to choose."""


def observe(subjects: Subjects, config: Config) -> Observed:
    """One record for each answer: the true one of a question first, then the false ones."""
    told = [
        (asked, answer, place == 0)
        for asked, question in zip(identities(subjects.questions), subjects.questions, strict=True)
        for place, answer in enumerate((question.answer, *question.false_answers))
    ]
    return observed.gathered(
        ({**asked, "row": row, "is_true": is_true} for row, (asked, _, is_true) in enumerate(told)),
        {name: _states(subjects, model, [answer for _, answer, _ in told]) for name, model in subjects.models.items()},
    )


def _states(subjects: Subjects, model: PreTrainedModel, answers: Sequence[Example]) -> np.ndarray:
    columns = [residuals.at_the_end(model, batch).float().cpu().numpy() for batch in subjects.batched(answers)]
    return np.concatenate(columns, axis=1)
