"""What an attack brought back, measured against the same attack on the target and on the retain model.

Knowledge K is the mean probability of the answers on forget. With an attack A, the unlearned model U, the
target T and the retain model R, which never saw the forget set:

- ``own_gain`` K(A(U)) − K(U): what the attack brought back
- ``gap_closed`` (K(A(U)) − K(U)) / (K(A(T)) − K(U)): the share of the visible forgetting that it undid
- ``same_condition_retention`` K(A(U)) / K(A(T)): what is left, compared with attacking the target
- ``excess`` (K(A(U)) − K(A(R))) / (K(T) − K(R)): 0 as if it had never seen the data, 1 as if it had never
  unlearned

A ratio whose denominator is nearly zero is missing. The published "21 % becomes 83 %" of quantization (Zhang
et al., 2024, arXiv:2410.16454) comes without a formula; ``same_condition_retention`` is the reading that fits
its tables best.
"""

import functools
from collections.abc import Callable

import numpy as np

from lethe import likelihoods, statistics
from lethe.interviews import UNATTACKED, Interview
from lethe.records import FORGET, Records
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap


def attack_scores(
    model: Interview, target: Interview, retain: Interview, bootstrap: Bootstrap, smallest_denominator: float
) -> dict[str, dict[str, Score]]:
    """The four numbers of every attacked condition; intervals resample the same clusters for all models."""
    statistics_ = {
        name: functools.partial(function, smallest=smallest_denominator) for name, function in STATISTICS.items()
    }
    interviews = (model, target, retain)
    before = [knowledge(interview, UNATTACKED) for interview in interviews]
    return {
        condition: {
            name: statistics.paired(
                statistic, [*before, *(knowledge(said, condition) for said in interviews)], bootstrap
            )
            for name, statistic in statistics_.items()
        }
        for condition in model.attacked
    }


def knowledge(interview: Interview, condition: str) -> Values:
    """The probability of every forget answer of one model under one condition."""
    return likelihoods.probabilities(interview.conditions[condition].get(FORGET, Records([], [])))


# Each takes means [..., 6]: K of unlearned, target and retain model before the attack, then after it.
def _own_gain(means: np.ndarray, smallest: float) -> np.ndarray:
    return np.asarray(means[..., 3] - means[..., 0])


def _gap_closed(means: np.ndarray, smallest: float) -> np.ndarray:
    return statistics.ratio(means[..., 3] - means[..., 0], means[..., 4] - means[..., 0], smallest)


def _same_condition_retention(means: np.ndarray, smallest: float) -> np.ndarray:
    return statistics.ratio(means[..., 3], means[..., 4], smallest)


def _excess(means: np.ndarray, smallest: float) -> np.ndarray:
    return statistics.ratio(means[..., 3] - means[..., 5], means[..., 1] - means[..., 2], smallest)


STATISTICS: dict[str, Callable[..., np.ndarray]] = {
    "own_gain": _own_gain,
    "gap_closed": _gap_closed,
    "same_condition_retention": _same_condition_retention,
    "excess": _excess,
}
