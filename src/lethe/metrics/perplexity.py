"""Perplexity: among how many equally likely tokens the model seems to choose, on what it was to forget and to keep.

1: certain of every token; the size of the vocabulary: knows nothing; more: certain of something else. The exponential
of the mean over questions of the mean negative log-likelihood of an answer or a text (Jelinek et al., 1977), so that
a long answer counts as much as a short one. Deviation: beyond e^690, which a collapsed model can reach, it counts as
that.
"""

from collections.abc import Mapping

import numpy as np

from lethe import likelihoods, scores, statistics
from lethe.config import Section
from lethe.records import FORGET, RETAIN, Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

SCOPE = "model"
SPLITS = {"forget_perplexity": FORGET, "retain_perplexity": RETAIN}
RANGE = dict.fromkeys(SPLITS, (1.0, np.inf))
DIRECTION = {"forget_perplexity": "match_oracle", "retain_perplexity": "lower"}
NEEDS = frozenset({"likelihoods"})

_LARGEST_EXPONENT = 690.0  # just below the largest float


class Config(Section):
    """Nothing to choose."""


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The perplexity on forget and on retain, with the interval of the mean that it is the exponential of."""
    nothing = Records([], [])
    return {name: _perplexity(model.records.get(split, nothing), bootstrap) for name, split in SPLITS.items()}


def _perplexity(said: Records, bootstrap: Bootstrap) -> Score:
    targets = likelihoods.known(said)
    nlls = likelihoods.mean_nlls(targets)
    values = scores.per_question(said, zip((item.id for item in targets), nlls, strict=True))
    return statistics.paired(lambda means: np.exp(np.minimum(means[..., 0], _LARGEST_EXPONENT)), [values], bootstrap)
