"""Min-K++ % attack: Min-K % with every token measured against what else the model could have said there.

The log-probability of a token is taken in standard deviations from its mean over the vocabulary, and the mean is over
the E = max(1, ⌊k · n⌋) lowest of n (Zhang et al., 2024, arXiv:2404.02936). A variance below 1e-6 counts as 1e-6, as in
OpenUnlearning (arXiv:2506.12618), which computes it as E[x²] − E[x]²; here it is taken around the mean. Of its numbers
the AUC lies between 0 and 1 (:mod:`lethe.membership`). Modes as in ``mia_min_k``.
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_min_k_plus_plus"
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
        lambda split: membership.lowest_z_scores(split, config.k, config.drop_eos, config.mode),
    )
    return membership.results(NAME, model_sides, retain_sides, bootstrap)
