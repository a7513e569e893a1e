"""Forget quality: whether the truth ratios on forget are like those of a model that never saw it.

``forget_quality`` is the p-value of the two-sample Kolmogorov–Smirnov test between the truth ratios of the
model and of the retain model (Maini et al., 2024, arXiv:2401.06121): 1 alike, customarily good above 0.05,
near 0 told apart. ``forget_quality_log10_p`` is its logarithm (a p-value below the smallest float counts as
that float: the test is saturated) and ``forget_quality_ks`` the statistic, 0 alike to 1 apart. The test takes
questions for independent, which they are not.

Beside it stands a paired test whose unit is the cluster: ``forget_distance``, the Wasserstein-1 distance
between the log truth ratios in nats, 0 alike, and ``forget_distance_p``, its p-value when authors swap
between the models. An attacked model is compared with the retain model under the same attack.

Deviation: the released code of OpenUnlearning tests ratios that carry an additive 1e-10. In mode ``exact`` the test is
between log truth ratios, in mode ``openunlearning`` between the code's ratios themselves, equal where they are equal
there (:func:`lethe.likelihoods.truth_ratios`); both give the same p-value unless the 1e-10 changes an order, as it does
for models that have collapsed and for losses in so few digits that ratios without it are equal. The distance follows
the mode.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import PositiveInt

from lethe import likelihoods, statistics
from lethe.config import Section
from lethe.records import FORGET, Records
from lethe.scores import Observation, Score, Values
from lethe.statistics import Bootstrap

SCOPE = "model"
RANGE = {
    "forget_quality": (0.0, 1.0),
    "forget_quality_log10_p": (-np.inf, 0.0),
    "forget_quality_ks": (0.0, 1.0),
    "forget_distance": (0.0, np.inf),
    "forget_distance_p": (0.0, 1.0),
}
DIRECTION = {
    "forget_quality": "higher",
    "forget_quality_log10_p": "higher",
    "forget_quality_ks": "lower",
    "forget_distance": "lower",
    "forget_distance_p": "higher",
}
NEEDS = frozenset({"likelihoods", "paraphrased_answers", "perturbed_answers", "retain_model"})

logger = logging.getLogger(__name__)


class Config(Section):
    """How truth ratios are made, and the draws of the permutation test."""

    mean: likelihoods.Mean
    mode: likelihoods.Mode
    permutation_samples: PositiveInt
    seed: int


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """Both tests between the model and the retain model, on the questions that both could be scored on."""
    nothing = Records([], [])
    pair = [
        likelihoods.truth_ratios(said.get(FORGET, nothing), config.mean, config.mode)
        for said in (model.records, retain_records)
    ]
    return compare(pair, config, bootstrap)


def compare(pair: Sequence[Values], config: Config, bootstrap: Bootstrap) -> dict[str, Score]:
    """Both tests between the truth ratios of a model and of the retain model, which share their questions.

    The ratios are as the mode has them: their logs in ``exact``.
    """
    statistics.require_same_questions(pair)
    both = np.isfinite(np.array([item.numbers for item in pair])).all(axis=0)
    n, unscored = int(both.sum()), int((~both).sum())
    if not n or unscored > bootstrap.max_unscored * len(both):
        return {name: Score(None, None, None, n, unscored) for name in RANGE}
    test = statistics.kolmogorov_smirnov(pair[0].numbers[both], pair[1].numbers[both])
    if not test.exact:
        logger.warning("forget quality: the asymptotic p-value was used, the exact one could not be computed.")
    first, second = pair if config.mode == "exact" else map(likelihoods.logs, pair)
    distance, distance_p = statistics.cluster_permutation(first, second, config.permutation_samples, config.seed)
    log10_p = float(np.log10(max(test.p, np.finfo(float).tiny)))
    found = zip(RANGE, (test.p, log10_p, test.statistic, distance, distance_p), strict=True)
    return {name: Score(value, None, None, n, unscored) for name, value in found}
