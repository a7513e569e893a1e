"""GradNorm attack: what a model was trained on would hardly move its weights.

A question's number is −‖∂L/∂θ‖₂, the norm of the gradient of its mean negative log-likelihood with regard to all
parameters at once (Wang et al., 2024, arXiv:2402.17012). Deviation: OpenUnlearning (arXiv:2506.12618) takes the mean of
the norms of the single tensors, with dropout at work. Of its numbers the AUC lies between 0 and 1
(:mod:`lethe.membership`).
"""

from collections.abc import Mapping

from lethe import membership, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score, Values
from lethe.statistics import Bootstrap

NAME = "mia_grad_norm"
SCOPE = "model"
RANGE = membership.ranges(NAME)
DIRECTION = membership.directions(NAME)
NEEDS = frozenset({"gradients", "holdout", "retain_model"})


class Config(Section):
    """Nothing to choose."""


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The attack on the model, beside the same attack on the retain model."""
    model_sides, retain_sides = membership.on_both(model.records, retain_records, _negative_norms)
    return membership.results(NAME, model_sides, retain_sides, bootstrap)


def _negative_norms(said: Records) -> Values:
    return scores.per_question(said, [(item.id, -item.norm) for item in said.gradients])
