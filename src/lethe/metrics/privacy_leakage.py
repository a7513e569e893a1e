"""Privacy leakage: how far membership inference is from what it would find in the retain model, in percent.

0: as in the retain model; below 0 the forget set is still told by its likelihood (under-unlearned), −100 at worst;
above 0 by its lack of it (over-unlearned). MUSE (Shi et al., 2024, arXiv:2407.06460) accepts −5 to 5. With the AUC of
Min-K % (``mia_min_k``) for telling forget from holdout it is

    100 · ((1 − AUC) − (1 − AUC of the retain model)) / (1 − AUC of the retain model)

because MUSE counts holdout as the positive side. The retain model's AUC is that under the same attack, never a
constant. Of the modes ``standard`` takes at least one token of each answer, ``muse`` none of an answer that is too
short (k = 0.4, ``drop_eos: never``), ``openunlearning`` (arXiv:2506.12618; k = 0.4, ``drop_eos: always_last``) at least
one and adds 1e-10 to the denominator. Where the retain model's AUC is exactly 1 the others have no number.

The interval draws the clusters of both sides anew: with 100 questions a side it is wider than ±15.
"""

import functools
from collections.abc import Mapping

import numpy as np

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

SCOPE = "model"
RANGE = {"privacy_leakage": (-100.0, np.inf)}
DIRECTION = {"privacy_leakage": "match_oracle"}
NEEDS = frozenset({"likelihoods", "holdout", "retain_model"})


class Config(Section):
    """Which tokens are looked at, and whose formula is followed."""

    k: membership.Share
    drop_eos: likelihoods.DropEos
    mode: membership.Mode


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The leakage of the model against the retain model."""
    model_sides, retain_sides = membership.on_both(
        model.records,
        retain_records,
        lambda split: membership.lowest_log_probs(split, config.k, config.drop_eos, config.mode),
    )
    formula = functools.partial(leakage, mode=config.mode)
    return membership.compared(model_sides, retain_sides, {"privacy_leakage": formula}, bootstrap)


def leakage(model_auc: np.ndarray, retain_auc: np.ndarray, mode: membership.Mode) -> np.ndarray:
    """The formula, of AUCs for which members are the positive side; NaN where it divides by 0."""
    model_side, retain_side = 1 - np.asarray(model_auc), 1 - np.asarray(retain_auc)
    if mode == "openunlearning":
        return np.asarray(100 * (model_side - retain_side) / (retain_side + 1e-10))
    return np.asarray(100 * (model_side - retain_side) / np.where(retain_side > 0, retain_side, np.nan))
