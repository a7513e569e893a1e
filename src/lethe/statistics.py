"""Intervals and tests whose unit is the cluster (author, document, entity).

Questions about one author go together, so counting them one by one would make every interval too narrow.

All models that answered the same questions are resampled alike, so that differences and ratios between them
are paired.
"""

import functools
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from lethe.config import Section
from lethe.scores import Score, Values

_BLOCK = 1 << 22  # elements of the largest temporary array
_PRODUCT = (
    1 << 18
)  # multiplications of one product: more would go to several threads, ten times slower on a busy machine


class Bootstrap(Section):
    """How intervals are made, and when a mean counts as missing."""

    samples: PositiveInt
    confidence: Annotated[float, Field(gt=0, lt=1)]  # coverage of the two-sided interval
    seed: int
    max_unscored: Annotated[float, Field(ge=0, lt=1)]  # a mean with a larger share of unscored questions is missing


class KolmogorovSmirnov(NamedTuple):
    """The largest gap between two distribution functions, its p-value, and whether that p-value is exact."""

    statistic: float
    p: float
    exact: bool


def means(values: Sequence[Values], bootstrap: Bootstrap) -> list[Score]:
    """The mean of each of several values of one split, with its cluster-bootstrap percentile interval."""
    scored = [item for item in values if item.n]
    columns = resampled_means(scored, bootstrap).T if scored else np.empty((0, 0))
    distributions = dict(zip(map(id, scored), columns, strict=True))
    return [_score([item], item.mean, distributions.get(id(item)), bootstrap) for item in values]


def paired(statistic: Callable[[np.ndarray], np.ndarray], values: Sequence[Values], bootstrap: Bootstrap) -> Score:
    """A statistic of several means, and its interval from resampling the same clusters for all of them.

    ``statistic`` maps means [..., len(values)] to numbers [...], NaN where it is undefined (a ratio without a
    denominator).
    """
    if not all(item.n for item in values):
        return _score(values, float("nan"), None, bootstrap)
    observed = float(statistic(np.array([item.mean for item in values])))
    return _score(values, observed, statistic(resampled_means(values, bootstrap)), bootstrap)


def difference(first: Values, second: Values, bootstrap: Bootstrap) -> Score:
    """Mean of the first minus mean of the second, for two models that answered the same questions."""
    return paired(lambda means: means[..., 0] - means[..., 1], [first, second], bootstrap)


def ratio(numerator: np.ndarray, denominator: np.ndarray, smallest: float) -> np.ndarray:
    """Divide, with NaN where the denominator is within ``smallest`` of zero."""
    defined = np.abs(denominator) >= smallest
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)


def resampled_means(values: Sequence[Values], bootstrap: Bootstrap) -> np.ndarray:
    """Means under resampled clusters: [samples, len(values)]; the values share split and questions.

    Each resample draws as many clusters as there are, with replacement. Two splits are drawn independently.
    """
    require_same_questions(values)
    first = values[0]
    clusters, owner = np.unique(np.array(first.clusters), return_inverse=True)
    scored = np.array([~np.isnan(item.numbers) for item in values])
    numbers = np.where(scored, [item.numbers for item in values], 0.0)
    sums = np.array([np.bincount(owner, weights=row, minlength=len(clusters)) for row in numbers])
    alike = scored[:1] if scored.all() else scored
    counts = np.array([np.bincount(owner, weights=row, minlength=len(clusters)) for row in alike])
    draws = _draws(first.split, len(clusters), bootstrap.samples, bootstrap.seed)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without one scored question is NaN
        return np.asarray(_product(draws, sums.T) / _product(draws, counts.T))


def bounds(
    distribution: np.ndarray, values: Sequence[Values], bootstrap: Bootstrap
) -> tuple[float | None, float | None]:
    """The percentile interval of a statistic of several values from its resamples [samples].

    One cluster cannot tell how far the next one would be (a zero-width interval would look certain), and a
    statistic that is undefined in some resample has no bound.
    """
    if np.isnan(distribution).any() or min(len(set(item.clusters)) for item in values) < 2:
        return None, None
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(distribution, [tail, 1 - tail])
    return float(low), float(high)


def require_same_questions(values: Sequence[Values]) -> None:
    """Raise ValueError unless the values are of one split and of the same questions."""
    if any(item.ids != values[0].ids or item.split != values[0].split for item in values):
        raise ValueError("values to be compared must share their split and their questions")


def is_missing(values: Values, bootstrap: Bootstrap) -> bool:
    """Whether too many questions went unscored for the mean to speak for the split (or none was asked)."""
    return _too_few(values.n, values.unscored, bootstrap)


def equivalent(difference: Score, margin: float) -> bool | None:
    """Two one-sided tests: whether the interval of a difference lies within ±margin; None without interval.

    Schuirmann, 1987. The coverage of the interval is one minus twice the level of each test: 90 % for tests
    at 5 %.
    """
    if difference.low is None or difference.high is None:
        return None
    return -margin <= difference.low and difference.high <= margin


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> KolmogorovSmirnov:
    """Two-sample two-sided Kolmogorov–Smirnov test (scipy); exact where scipy can, asymptotic otherwise."""
    from scipy.stats import ks_2samp  # half a second of import, which only this test needs

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        result = ks_2samp(first, second, method="auto")
    exact = max(len(first), len(second)) <= 10_000 and not any(item.category is RuntimeWarning for item in caught)
    return KolmogorovSmirnov(float(result.statistic), float(result.pvalue), exact)


def cluster_permutation(first: Values, second: Values, samples: int, seed: int) -> tuple[float, float]:
    """Wasserstein-1 distance between two models' values on the same questions, and its permutation p-value.

    Null hypothesis: the two models are exchangeable within a cluster, so each cluster swaps its labels with
    probability one half. p = (1 + number of distances at least as large) / (1 + samples).
    """
    require_same_questions([first, second])
    both = ~(np.isnan(first.numbers) | np.isnan(second.numbers))
    clusters, owner = np.unique(np.array(first.clusters)[both], return_inverse=True)
    pooled = np.concatenate([first.numbers[both], second.numbers[both]])
    order = np.argsort(pooled, kind="stable")
    # W1 is the area between the distribution functions; swapping a cluster flips the sign of its steps.
    steps = np.zeros((len(clusters), len(pooled)))
    steps[np.tile(owner, 2)[order], np.arange(len(pooled))] = np.where(order < both.sum(), 1.0, -1.0) / both.sum()
    heights, widths = np.cumsum(steps, axis=1)[:, :-1], np.diff(pooled[order])
    observed = float(np.abs(heights.sum(axis=0)) @ widths)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(samples, len(clusters)))
    rows = max(1, _BLOCK // len(pooled))
    distances = [np.abs(_product(signs[start : start + rows], heights)) @ widths for start in range(0, samples, rows)]
    as_large = np.concatenate(distances) >= observed * (1 - 1e-9)
    return observed, float((1 + as_large.sum()) / (1 + samples))


def _score(values: Sequence[Values], observed: float, distribution: np.ndarray | None, bootstrap: Bootstrap) -> Score:
    unscored = int(np.isnan([item.numbers for item in values]).any(axis=0).sum())
    n = len(values[0].ids) - unscored
    if np.isnan(observed) or _too_few(n, unscored, bootstrap):
        return Score(None, None, None, n, unscored)
    low, high = (None, None) if distribution is None else bounds(distribution, values, bootstrap)
    return Score(observed, low, high, n, unscored)


def _too_few(n: int, unscored: int, bootstrap: Bootstrap) -> bool:
    return n == 0 or unscored > bootstrap.max_unscored * (n + unscored)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix product [rows, columns] in blocks of rows that one thread handles."""
    rows = max(1, _PRODUCT // right.size)
    blocks = [left[start : start + rows].astype(np.float64) @ right for start in range(0, len(left), rows)]
    return np.concatenate(blocks)


@functools.lru_cache(maxsize=32)
def _draws(split: str, num_clusters: int, samples: int, seed: int) -> np.ndarray:
    """How often each cluster stands in each resample: [samples, clusters]; the same for all models."""
    generator = np.random.default_rng([seed, zlib.crc32(split.encode())])
    counts = np.empty((samples, num_clusters), dtype=np.uint8)
    rows = max(1, _BLOCK // num_clusters)
    for start in range(0, samples, rows):
        chosen = generator.integers(num_clusters, size=(min(rows, samples - start), num_clusters))
        cells = chosen + num_clusters * np.arange(len(chosen))[:, None]
        counts[start : start + rows] = np.bincount(cells.ravel(), minlength=cells.size).reshape(chosen.shape)
    return counts
