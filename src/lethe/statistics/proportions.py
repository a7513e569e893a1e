"""Intervals for a share: how many of n independent trials succeeded.

Both take trials for independent. Where questions share an author, the cluster bootstrap of their mean is the
interval to report.
"""

from typing import Literal


def clopper_pearson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval: covers at least ``confidence`` whatever the share; for guarantees.

    Each end leaves half of 1 − ``confidence`` of the binomial distribution beyond what was seen. Without a
    success in n trials the upper end is 1 − ((1 − ``confidence``)/2)^(1/n). Clopper and Pearson, 1934 (scipy).
    """
    return _interval(successes, trials, confidence, "exact")


def wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """The score interval: covers ``confidence`` on average over shares, narrower than the exact one; for reports.

    The shares whose normal approximation does not reject what was seen. Wilson, 1927 (scipy).
    """
    return _interval(successes, trials, confidence, "wilson")


def _interval(
    successes: int, trials: int, confidence: float, method: Literal["exact", "wilson"]
) -> tuple[float, float]:
    from scipy.stats import binomtest  # half a second of import

    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"a share needs at least one trial and no more successes than trials: {successes} of {trials}")
    interval = binomtest(successes, trials).proportion_ci(confidence, method)
    return float(interval.low), float(interval.high)
