"""Reference attack: which answers are likelier than a model finds them that never saw them?

A question's number is L_retain − L, the mean negative log-likelihood under the retain model, attacked in the same way,
less that under the model (Carlini et al., 2021, arXiv:2012.07805; OpenUnlearning, arXiv:2506.12618, with
``drop_eos: never``). Of its numbers the AUC lies between 0 and 1 (:mod:`lethe.membership`); the retain model against
itself has exactly 0.5.

The sharpest of the attacks, and more than an attacker can do who has no such model: with the retain model for a
reference it also finds what unlearning itself left behind.
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_reference"
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
    """The attack on the model, beside the attack on the retain model, which is its own reference."""
    model_sides, reference = membership.on_both(
        model.records, retain_records, lambda split: membership.log_likelihoods(split, config.drop_eos)
    )
    return membership.results(
        NAME, membership.minus(model_sides, reference), membership.minus(reference, reference), bootstrap
    )
