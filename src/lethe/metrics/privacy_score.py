"""Privacy score: one number for how like the retain model the model looks to membership inference.

1: every attack has the AUC that it has on the retain model; 0: some attack is as far from it as can be. The harmonic
mean over LOSS, Zlib, Min-K % and Min-K++ % of the similarity 1 − |AUC − AUC of the retain model| / AUC of the retain
model, not below 0 (OpenUnlearning, arXiv:2506.12618, which adds the attacks up in the same way). It does not tell
which attack is to blame, nor whether too much is known or too little: look at ``mia_*`` beside it.
"""

from collections.abc import Mapping

import numpy as np

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

SCOPE = "model"
RANGE = {"privacy_score": (0.0, 1.0)}
DIRECTION = {"privacy_score": "higher"}
NEEDS = frozenset({"likelihoods", "holdout", "retain_model"})


class Config(Section):
    """Which tokens the attacks look at, and whose code Min-K and Min-K++ follow where a target is short."""

    loss_drop_eos: likelihoods.DropEos
    k: membership.Share
    min_k_drop_eos: likelihoods.DropEos
    mode: membership.Mode


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The four attacks on the model and on the retain model, in one number."""
    pairs = [
        (membership.sides(model.records, attack), membership.sides(retain_records, attack))
        for attack in _attacks(config)
    ]
    return {"privacy_score": membership.combined(pairs, _score, bootstrap)}


def _attacks(config: Config) -> list[membership.Attack]:
    lowest = config.k, config.min_k_drop_eos, config.mode
    return [
        lambda said: membership.log_likelihoods(said, config.loss_drop_eos),
        lambda said: membership.compressed_log_likelihoods(said, config.loss_drop_eos),
        lambda said: membership.lowest_log_probs(said, *lowest),
        lambda said: membership.lowest_z_scores(said, *lowest),
    ]


def _score(model: np.ndarray, retain: np.ndarray) -> np.ndarray:
    """Harmonic mean of the similarities of AUCs [attacks, ...]: [...]."""
    return harmonic_mean(membership.similarity(model, retain))


def harmonic_mean(similarities: np.ndarray) -> np.ndarray:
    """Over the first axis, of numbers ≥ 0; exactly 0 when one of them is."""
    with np.errstate(divide="ignore"):
        return np.asarray(len(similarities) / (1 / similarities).sum(axis=0))
