"""RWKU's membership inference: how familiar passages about what was forgotten, and about others, look to a model.

Means over the passages of four scores, each higher for a likelier member: ``…_loss`` the mean log-probability a token,
at most 0, ``…_zlib`` the same over the length of the compressed passage, ``…_min_k`` and ``…_min_k_plus_plus`` the mean
of the share ``k`` of least likely tokens (:mod:`lethe.membership`). 0: every token was certain; RWKU's tables print the
loss, the first with its sign turned. An unlearned model should give the passages about the forgotten what the retain
model gives them, and those about others what it gave before (Jin et al., 2024, arXiv:2406.10890 and its code, k = 0.2).
There is no AUC: the two kinds of passages are not told from each other.

The passages are the splits ``forget_mia`` and ``retain_mia`` of the source ``rwku``. Deviations: a passage of more than
``encoding.rwku.max_length`` tokens is read and compressed in chunks, the code reads it whole; one of fewer than 1 / k
tokens counts with its least likely one, the code stops at a NaN; a variance counts as at least 1e-6. Intervals resample
the people to be forgotten, and the passages about others.
"""

from collections.abc import Callable, Mapping

import numpy as np

from lethe import membership, scores, statistics
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score, Values
from lethe.statistics import Bootstrap

SCOPE = "model"
SPLITS = {"rwku_forget": scores.FORGET_PASSAGES, "rwku_retain": scores.RETAIN_PASSAGES}
_ENDS = {"_loss": 0.0, "_zlib": 0.0, "_min_k": 0.0, "_min_k_plus_plus": np.inf}
RANGE = {name + ending: (-np.inf, highest) for name in SPLITS for ending, highest in _ENDS.items()}
DIRECTION = {name: "higher" if name.startswith("rwku_retain") else "match_oracle" for name in RANGE}
NEEDS = frozenset({"texts", "rwku_passages"})


class Config(Section):
    """The share of a passage's tokens that Min-K and Min-K++ look at."""

    k: membership.Share


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The four means over both kinds of passages."""
    found: dict[str, Score] = {}
    for name, split in SPLITS.items():
        said = model.records.get(split, Records([], []))
        measured = [attack(said, config.k) for attack in _ATTACKS.values()]
        named = [name + ending for ending in _ATTACKS]
        found |= dict(zip(named, statistics.means(measured, bootstrap), strict=True))
    return found


_ATTACKS: dict[str, Callable[[Records, float], Values]] = {
    "_loss": lambda said, k: membership.log_likelihoods(said, "never"),
    "_zlib": lambda said, k: membership.compressed_log_likelihoods(said, "never"),
    "_min_k": lambda said, k: membership.lowest_log_probs(said, k, "never", "standard"),
    "_min_k_plus_plus": lambda said, k: membership.lowest_z_scores(said, k, "never", "standard"),
}
