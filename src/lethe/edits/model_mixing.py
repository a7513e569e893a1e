"""Unlearning with control (UWC): go back towards the model before unlearning until as much is kept as was asked for.

θ_mix(a) = (1 − a) θ_o + a θ_u, with the largest a at which the mean extraction strength of retain rows is at least
``tolerance`` times that of θ_o; compare methods after this, at the same level of retention (Wang et al., 2025,
arXiv:2406.09179). It follows a point that unlearns. Strength along the way need not fall evenly, so that a grid is
looked through from above first, and only the step below the lowest failure is bisected.

Extraction strength is the longest end of an answer whose tokens are all first choices, as a share of the answer: what
greedy decoding completes by itself, found by teacher forcing. The token that closes an answer is not part of it.

Which rows: of ``retain`` some are asked of every model afterwards, so that the level is set partly on what is
reported. ``validation`` are the retain rows that nobody is asked; the original was trained on them, and so may the
other have been: the level is one of what was learnt, and no estimate for rows that neither has seen. ``general`` rows
are asked of nobody, either.

Deviations: the released code looks at 50 rows a side and takes the weight of θ_o for its ratio; here
``validation_rows`` says how many, drawn by the seed, and a is the weight of θ_u.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt
from torch import Tensor

from lethe import editing, mixing
from lethe.batches import Example
from lethe.mixing import extraction_strength, largest, mix

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

    from lethe.material import Material
    from lethe.training import Curve

COPIES = 3  # the mixture, and the two models that it is made of


class Config(mixing.Search):
    """How much is to be kept, and how finely the mixture is sought."""

    tolerance: Annotated[float, Field(ge=0, le=1)]  # share of the original's extraction strength; 0: a = 1
    rows: editing.ValidationRows
    validation_rows: PositiveInt  # drawn among them by the seed


def edit(model: PreTrainedModel, material: Material, config: Config) -> Curve:
    """Mix the model with the original; the entry tells a, and the strengths there and of the original.

    Raises DataError where the source has no such rows.
    """
    rows = editing.kept_rows(material, config.rows, config.validation_rows)
    original = {name: parameter.detach() for name, parameter in material.original().named_parameters()}
    unlearned = editing.copied(model)

    def strength(share: float) -> float:
        mix(model, original, unlearned, share)
        hits = editing.first_choices(model, rows, pad=material.pad)
        found = [extraction_strength(_known(row, choices)) for row, choices in zip(rows, hits, strict=True)]
        return sum(found) / len(found)

    before = strength(0.0)
    share = largest(lambda share: strength(share) >= config.tolerance * before, config)
    reached = strength(share)
    return [{"step": 1, "mix": share, "retain_strength": reached, "original_retain_strength": before}]


def _known(row: Example, hits: Tensor) -> Tensor:
    return hits[:-1] if row.ends_turn else hits
