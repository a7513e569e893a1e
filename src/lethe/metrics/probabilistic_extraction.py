"""Probabilistic extraction: how likely the exact answer comes out when a model is asked 1, 32 or 128 times.

1: certain to come; 0: never. With P the probability of the whole answer, its end of turn included, k answers drawn at
temperature 1 hold it with the probability 1 − (1 − P)^k: a lower bound of leak@k (arXiv:2511.04934), where another
wording counts as well, that no answer has to be drawn for. Hayes et al., 2024, arXiv:2410.19482, ask for the k at which
it passes a limit. P is of the answer, not of a token: most are tiny. A chunk of a text is taken behind its first token.
"""

import numpy as np

from lethe import likelihoods, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
DRAWS = {"extracted_in_1_draw": 1, "extracted_in_32_draws": 32, "extracted_in_128_draws": 128}
RANGE = dict.fromkeys(DRAWS, (0.0, 1.0))
DIRECTION = dict.fromkeys(DRAWS, "match_oracle")
NEEDS = frozenset({"likelihoods"})


class Config(Section):
    """Nothing to choose."""


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The probability that each answer or text comes out, for each number of draws."""
    targets = likelihoods.known(said)
    sums = np.array([_log_probability(item.log_probs) for item in targets])
    return {
        name: scores.per_question(said, zip((item.id for item in targets), extracted(sums, k), strict=True))
        for name, k in DRAWS.items()
    }


def extracted(log_probabilities: np.ndarray, k: int) -> np.ndarray:
    """1 − (1 − P)^k of answers with these log-probabilities, without losing the smallest: 1e-30 gives k · 1e-30."""
    with np.errstate(divide="ignore"):  # what is certain fails never
        return np.asarray(-np.expm1(k * np.log1p(-np.exp(np.minimum(log_probabilities, 0.0)))))


def _log_probability(log_probs: np.ndarray) -> float:
    return float(np.sum(log_probs, dtype=np.float64)) if len(log_probs) else float("nan")
