"""ReCaLL attack: a prefix of what the model never saw disturbs what it was trained on more than what it was not.

A question's number is LL(answer behind the prefix) / LL(answer), the ratio of the mean log-probabilities (Xie et al.,
2024, arXiv:2406.15968): both are negative, so that a member, whose likelihood falls, has the larger ratio. The prefix
is questions and answers that no model was trained on, the same for all. An answer that is certain with and without it
has the ratio 1, one that is certain only without it an infinite one. Of its numbers the AUC lies between 0 and 1
(:mod:`lethe.membership`).
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_recall"
SCOPE = "model"
RANGE = membership.ranges(NAME)
DIRECTION = membership.directions(NAME)
NEEDS = frozenset({"likelihoods", "answers_after_prefix", "holdout", "retain_model"})


class Config(Section):
    """Whether the closing token counts."""

    drop_eos: likelihoods.DropEos


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The attack on the model, beside the same attack on the retain model."""
    model_sides, retain_sides = membership.on_both(
        model.records, retain_records, lambda split: membership.prefix_ratios(split, config.drop_eos)
    )
    return membership.results(NAME, model_sides, retain_sides, bootstrap)
