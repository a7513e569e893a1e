"""Intervals whose unit is the cluster (author, document, entity).

Questions about one author go together, so counting them one by one would make every interval too narrow.

All models that answered the same questions are resampled alike, so that differences and ratios between them
are paired.
"""

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated

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
    weights = draws(first.split, len(clusters), bootstrap.samples, bootstrap.seed)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without one scored question is NaN
        return np.asarray(product(weights, sums.T) / product(weights, counts.T))


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


def _score(values: Sequence[Values], observed: float, distribution: np.ndarray | None, bootstrap: Bootstrap) -> Score:
    unscored = int(np.isnan([item.numbers for item in values]).any(axis=0).sum())
    n = len(values[0].ids) - unscored
    if np.isnan(observed) or _too_few(n, unscored, bootstrap):
        return Score(None, None, None, n, unscored)
    low, high = (None, None) if distribution is None else bounds(distribution, values, bootstrap)
    return Score(observed, low, high, n, unscored)


def _too_few(n: int, unscored: int, bootstrap: Bootstrap) -> bool:
    return n == 0 or unscored > bootstrap.max_unscored * (n + unscored)


def block_rows(columns: int) -> int:
    """How many rows of so many columns a temporary array may have."""
    return max(1, _BLOCK // columns)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix product [rows, columns] in blocks of rows that one thread handles."""
    rows = max(1, _PRODUCT // right.size)
    blocks = [left[start : start + rows].astype(np.float64) @ right for start in range(0, len(left), rows)]
    return np.concatenate(blocks)


@functools.lru_cache(maxsize=32)
def draws(split: str, num_clusters: int, samples: int, seed: int) -> np.ndarray:
    """How often each cluster stands in each resample: [samples, clusters]; the same for all models."""
    generator = np.random.default_rng([seed, zlib.crc32(split.encode())])
    counts = np.empty((samples, num_clusters), dtype=np.uint8)
    rows = block_rows(num_clusters)
    for start in range(0, samples, rows):
        chosen = generator.integers(num_clusters, size=(min(rows, samples - start), num_clusters))
        cells = chosen + num_clusters * np.arange(len(chosen))[:, None]
        counts[start : start + rows] = np.bincount(cells.ravel(), minlength=cells.size).reshape(chosen.shape)
    return counts
