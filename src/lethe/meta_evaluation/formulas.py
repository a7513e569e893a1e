"""Faithfulness and robustness of a metric, as arithmetic on how much it says that models know (more is more).

The published forms of robustness are one-sided: they cannot see that an attack destroys a model, so that each has a
symmetric one beside it. All are in [0, 1], 1 is robust. OpenUnlearning, arXiv:2506.12618, after its formulas; the
symmetric forms as its independent replication takes them, arXiv:2605.24614.
"""

from collections.abc import Sequence
from statistics import fmean, harmonic_mean
from typing import NamedTuple

import numpy as np

from lethe.statistics import auc


class Pair(NamedTuple):
    """How much a metric says that a model knows, before and after an attack."""

    before: float
    after: float

    @property
    def gain(self) -> float:
        """What the attack added, below 0 what it took."""
        return self.after - self.before


def faithfulness(knowing: Sequence[float], ignorant: Sequence[float]) -> float | None:
    """P(knowing > ignorant) + ½ P(equal): 1 always right, 0.5 cannot tell, 0 the wrong way; None without a side."""
    found = auc(np.array(knowing), np.array(ignorant))
    return None if np.isnan(found) else found


def threshold(knowing: Sequence[float], ignorant: Sequence[float]) -> float:
    """Above it a model is taken for knowing: the cut between neighbours with the best balanced accuracy.

    The lowest of several, which lets the fewest models pass for ignorant. Both sides hold a number.
    """
    values = np.unique([*knowing, *ignorant])
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    right = [np.mean(np.array(knowing) > cut) + np.mean(np.array(ignorant) <= cut) for cut in cuts]
    return float(cuts[int(np.argmax(right))])


def relearning(unlearned: Pair, retain: Pair) -> float:
    """R = min(gain of the retain model / gain of the unlearned model, 1), not below 0; 1 where it gains nothing."""
    return 1.0 if unlearned.gain <= 0 else _within(retain.gain / unlearned.gain)


def quantization(unlearned: Pair) -> float:
    """Q = min(before / after, 1), not below 0; 1 where nothing is left after it."""
    return 1.0 if unlearned.after <= 0 else _within(unlearned.before / unlearned.after)


def symmetric_relearning(unlearned: Pair, retain: Pair) -> float:
    """R' = 1 − |gain − gain of the retain model| / (|gain| + |gain of the retain model|)."""
    return alike(unlearned.gain, retain.gain)


def symmetric_quantization(unlearned: Pair) -> float:
    """Q' = 1 − |before − after| / (|before| + |after|): what vanishes counts like what returns."""
    return alike(unlearned.before, unlearned.after)


def alike(first: float, second: float) -> float:
    """1 − |a − b| / (|a| + |b|), in [0, 1]: 1 equal, two zeros as well; 0 when one is 0 or their signs differ."""
    whole = abs(first) + abs(second)
    return 1.0 if whole == 0 else _within(1 - abs(first - second) / whole)


def combined(parts: Sequence[float | None]) -> float | None:
    """The harmonic mean of numbers in [0, 1], exactly 0 when one of them is; None without one, or when one is None."""
    numbers = [part for part in parts if part is not None]
    return harmonic_mean(numbers) if numbers and len(numbers) == len(parts) else None


def mean(numbers: Sequence[float]) -> float | None:
    """The mean; None without a number."""
    return fmean(numbers) if numbers else None


def _within(ratio: float) -> float:
    return min(max(ratio, 0.0), 1.0)
