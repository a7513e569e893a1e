"""What an attack brought back, measured against the same attack on the target and on the retain model.

Knowledge K is the mean probability of the answers on forget. With an attack A, the unlearned model U, the
target T and the retain model R, which never saw the forget set:

- ``own_gain`` K(A(U)) − K(U): what the attack brought back
- ``gap_closed`` (K(A(U)) − K(U)) / (K(A(T)) − K(U)): the share of the visible forgetting that it undid
- ``same_condition_retention`` K(A(U)) / K(A(T)): what is left, compared with attacking the target
- ``excess`` (K(A(U)) − K(A(R))) / (K(T) − K(R)): 0 as if it had never seen the data, 1 as if it had never
  unlearned
- ``excess_p`` the p-value of the one-sided test that the excess is above its limit, adjusted by Holm over all attacked
  conditions of the model: the chance is at most a that any condition with a p-value ≤ a is called a return wrongly

The test asks whether the mean of (K(A(U)) − K(A(R))) − limit · (K(T) − K(R)) is above 0 when every cluster may flip its
sign, which needs no ratio and no normal distribution. With c clusters no p-value is below 2^−c.

A ratio whose denominator is nearly zero is missing. The published "21 % becomes 83 %" of quantization (Zhang
et al., 2024, arXiv:2410.16454) comes without a formula; ``same_condition_retention`` is the reading that fits
its tables best.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lethe import likelihoods, statistics
from lethe.interviews import UNATTACKED, Interview
from lethe.records import FORGET, Records
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap


def attack_scores(
    model: Interview,
    target: Interview,
    retain: Interview,
    bootstrap: Bootstrap,
    smallest_denominator: float,
    largest_excess: float,
) -> dict[str, dict[str, Score]]:
    """The five numbers of every attacked condition; intervals resample the same clusters for all models.

    ``largest_excess`` is the limit that ``excess_p`` tests.
    """
    interviews = (model, target, retain)
    before = [knowledge(interview, UNATTACKED) for interview in interviews]
    known = {condition: [*before, *(knowledge(said, condition) for said in interviews)] for condition in model.attacked}
    found = {
        condition: {
            name: statistics.paired(functools.partial(statistic, smallest=smallest_denominator), values, bootstrap)
            for name, statistic in STATISTICS.items()
        }
        for condition, values in known.items()
    }
    p_values = statistics.holm(
        [
            _excess_p(values, found[condition]["excess"], largest_excess, bootstrap)
            for condition, values in known.items()
        ]
    )
    for scores, p in zip(found.values(), p_values, strict=True):
        excess = scores["excess"]
        scores["excess_p"] = Score(None if np.isnan(p) else p, None, None, excess.n, excess.unscored)
    return found


def knowledge(interview: Interview, condition: str) -> Values:
    """The probability of every forget answer of one model under one condition."""
    return likelihoods.probabilities(interview.conditions[condition].get(FORGET, Records([], [])))


def _excess_p(values: list[Values], excess: Score, limit: float, bootstrap: Bootstrap) -> float:
    """The p-value, of this condition alone, that the excess is above ``limit``; NaN where there is no excess."""
    if excess.value is None:
        return float("nan")
    _, target, retain, attacked, _, attacked_retain = (item.numbers for item in values)
    surplus = (attacked - attacked_retain) - limit * (target - retain)
    return statistics.mean_above_zero_p(replace(values[0], numbers=surplus), bootstrap.samples, bootstrap.seed)


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
