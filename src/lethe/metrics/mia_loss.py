"""LOSS attack: what a model was trained on has the smaller loss.

A question's number is its mean log-probability a token, −L, the end-of-turn token included with ``drop_eos: never``
as in OpenUnlearning (arXiv:2506.12618). Yeom et al., 2018, arXiv:1709.01604. Of its numbers the AUC lies between 0 and
1 (:mod:`lethe.membership`).
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_loss"
SCOPE = "model"
RANGE = membership.ranges(NAME)
DIRECTION = membership.directions(NAME)
NEEDS = frozenset({"likelihoods", "holdout", "retain_model"})


class Config(Section):
    """Whether the closing token counts."""

    drop_eos: likelihoods.DropEos


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The attack on the model, beside the same attack on the retain model."""
    model_sides, retain_sides = membership.on_both(
        model.records, retain_records, lambda split: membership.log_likelihoods(split, config.drop_eos)
    )
    return membership.results(NAME, model_sides, retain_sides, bootstrap)
