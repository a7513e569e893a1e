"""Task-vector negation: learn the forget rows even better, then go as far the other way.

τ = θ_ft − θ, where θ_ft minimises the NLL of the forget rows from θ on; the model becomes θ − s τ (Ilharco et al.,
2023, arXiv:2212.04089; for unlearning MUSE, arXiv:2407.06460, which finds almost no forgetting on its corpora). No
retain row is looked at. With s = 0 nothing changes, with s = −1 the model is θ_ft.

MUSE's decode-time form of Who's Harry Potter mixes the probabilities of the same two models; this is what it comes to
in the space of weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lethe import editing

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

    from lethe.material import Material
    from lethe.training import Curve

COPIES = 5  # the model, where it began, gradients and two moments


class Config(editing.Fitting):
    """How the forget rows are learnt, and how far back it goes."""

    scale: float  # s


def edit(model: PreTrainedModel, material: Material, config: Config) -> Curve:
    """Negate the task vector of the forget rows; the curve is that of learning them."""
    origin = editing.copied(model)
    curve = editing.learn(model, material.rows.forget, config, material, phase="task-vector")
    editing.move_away(model, origin, config.scale)
    return curve
