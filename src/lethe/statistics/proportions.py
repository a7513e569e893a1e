"""What may be said of a share, of which n independent trials succeeded so often: an interval, and a guarantee.

The bound is for guarantees (no more than so much leaks), the interval for reports. Both take trials for independent.
Where questions share an author, the cluster bootstrap of their mean is the
interval to report.
"""

import math
from statistics import NormalDist


def clopper_pearson_upper(successes: int, trials: int, confidence: float) -> float:
    """The exact one-sided upper bound of a share: at least ``confidence`` sure whatever the share; in (0, 1].

    The share under which so few successes have the probability 1 − ``confidence``: without a success
    1 − (1 − ``confidence``)^(1/n), 1 where every trial succeeded. Trials may have chances of their own: without a
    success it bounds their mean, because a geometric mean is no larger. Raises ValueError unless 0 ≤ successes ≤ trials
    and there is a trial. Clopper and Pearson, 1934; for leakage arXiv:2410.03523.
    """
    from scipy.special import betaincinv  # a tenth of a second of import

    _require_share(successes, trials)
    return 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, confidence))


def wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """The score interval: covers ``confidence`` on average over shares, narrower than the exact one; for reports.

    The shares whose normal approximation does not reject what was seen; within [0, 1], with the share itself between
    its ends. Wilson, 1927.
    """
    _require_share(successes, trials)
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), successes / trials
    center = (successes + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * math.sqrt(successes * (trials - successes) / trials + z * z / 4)
    # Rounding may push a bound past the share itself, for example above 0 where nothing succeeded.
    return min(share, max(0.0, center - half)), max(share, min(1.0, center + half))


def _require_share(successes: int, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"a share needs at least one trial and no more successes than trials: {successes} of {trials}")
