"""Reference attack: which answers are likelier than a model finds them that never saw them?

A question's number is L_reference − L, its mean negative log-likelihood under a retain model less that under the model
(Carlini et al., 2021, arXiv:2012.07805; OpenUnlearning, arXiv:2506.12618, with ``drop_eos: never``). Of its numbers
the AUC lies between 0 and 1 (:mod:`lethe.membership`).

The reference must not be the retain model that the attack is then compared with: what is subtracted from itself has an
AUC of exactly 0.5, and every deviation of the model from that one retain model would count as membership. It is
another retain model, of another seed, under the same condition. Where none was made the retain model itself is the
reference, as in OpenUnlearning, and the attack is compared with nothing: difference and similarity are missing, and
neither gate nor verdict looks at it.

The sharpest of the attacks, and more than an attacker can do who has no such model.
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.membership import Sides
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_reference"
SCOPE = "model"
RANGE = membership.ranges(NAME)
DIRECTION = membership.directions(NAME)
NEEDS = frozenset({"likelihoods", "holdout", "retain_model", "another_retain_model"})


class Config(Section):
    """Whether the closing token counts."""

    drop_eos: likelihoods.DropEos


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The attack on the model, beside that on the retain model where another retain model is the reference."""

    def sides(said: Mapping[str, Records]) -> Sides:
        return membership.sides(said, lambda split: membership.log_likelihoods(split, config.drop_eos))

    mine, retain = sides(model.records), sides(retain_records)
    if model.another_retain is None:
        return membership.results(NAME, membership.minus(mine, retain), None, bootstrap)
    reference = sides(model.another_retain)
    return membership.results(NAME, membership.minus(mine, reference), membership.minus(retain, reference), bootstrap)
