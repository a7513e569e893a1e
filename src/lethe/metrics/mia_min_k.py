"""Min-K % attack: in what a model was trained on even the least likely tokens are not that unlikely.

A question's number is the mean log-probability of the share ``k`` of its least likely tokens, E = max(1, ⌊k · n⌋) of n
(Shi et al., 2023, arXiv:2310.16789, with k = 0.2). Of its numbers the AUC lies between 0 and 1
(:mod:`lethe.membership`).

``mode: openunlearning`` (arXiv:2506.12618; with k = 0.4 and ``drop_eos: always_last``) gives an answer without a token
left the number 0. ``mode: muse`` (arXiv:2407.06460; with k = 0.4 and ``drop_eos: never``) takes ⌊k · n⌋ tokens; an
answer that is too short for one is unscored, where the released code stops at a NaN.
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_min_k"
SCOPE = "model"
RANGE = membership.ranges(NAME)
DIRECTION = membership.directions(NAME)
NEEDS = frozenset({"likelihoods", "holdout", "retain_model"})


class Config(Section):
    """Which tokens are looked at, and whose code is followed where a target is short."""

    k: membership.Share
    drop_eos: likelihoods.DropEos
    mode: membership.Mode


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The attack on the model, beside the same attack on the retain model."""
    model_sides, retain_sides = membership.on_both(
        model.records,
        retain_records,
        lambda split: membership.lowest_log_probs(split, config.k, config.drop_eos, config.mode),
    )
    return membership.results(NAME, model_sides, retain_sides, bootstrap)
