"""How well a number tells members from non-members: the area under the ROC curve, and where the curve begins."""

import numpy as np

from lethe.scores import Values
from lethe.statistics.bootstrap import Bootstrap, block_rows, draws, product

_FEW = 1 << 12  # pairs of clusters up to which their wins are counted once instead of in every resample


def auc(members: np.ndarray, non_members: np.ndarray) -> float:
    """P(member > non-member) + ½ P(equal), in [0, 1]: 0.5 cannot tell, 1 always right; NaN when a side is empty.

    That is the area under the ROC curve, ties at their midrank. Mann and Whitney, 1947.
    """
    if not (len(members) and len(non_members)):
        return float("nan")
    return float(_wins(members, non_members).sum() / (len(members) * len(non_members)))


def tpr_at_fpr(members: np.ndarray, non_members: np.ndarray, fpr: float) -> float:
    """The largest share of members found by a threshold that takes at most ``fpr`` of the non-members for members.

    Of n non-members at most ⌊fpr · n⌋ may be above it: below 1/fpr of them, none. NaN when a side is empty.
    Carlini et al., 2022, arXiv:2112.03570.
    """
    if not (len(members) and len(non_members)):
        return float("nan")
    allowed = int(fpr * len(non_members))
    return float((members > np.sort(non_members)[-1 - allowed]).mean()) if allowed < len(non_members) else 1.0


def resampled_aucs(members: Values, non_members: Values, bootstrap: Bootstrap) -> np.ndarray:
    """AUCs [samples] when the clusters of both sides are drawn anew, each side by itself.

    The draws depend on split, clusters and seed alone, so that those of two models are paired. A resample
    without a scored question on one side is NaN.
    """
    (first, owner, weights), (second, other, against) = _side(members, bootstrap), _side(non_members, bootstrap)
    sizes = product(weights, np.bincount(owner, minlength=weights.shape[1])[:, None])[:, 0]
    sizes = sizes * product(against, np.bincount(other, minlength=against.shape[1])[:, None])[:, 0]
    few = weights.shape[1] * against.shape[1] <= _FEW
    count = _wins_by_clusters if few else _wins_by_resample
    with np.errstate(invalid="ignore"):
        return np.asarray(count(first, owner, weights, second, other, against) / sizes)


def resampled_tprs(members: Values, non_members: Values, fpr: float, bootstrap: Bootstrap) -> np.ndarray:
    """:func:`tpr_at_fpr` [samples] in the resamples of :func:`resampled_aucs`, each with a threshold of its own.

    A resample without a scored question on one side is NaN. A small rate rests on the few highest non-members: where
    none is allowed above it the threshold is the highest drawn one, never above the highest seen, and the resamples
    lean upwards.
    """
    (first, owner, weights), (second, other, against) = _side(members, bootstrap), _side(non_members, bootstrap)
    order = np.argsort(-second, kind="stable")
    sizes = product(against, np.bincount(other, minlength=against.shape[1])[:, None])[:, 0]
    places = _thresholds(other[order], against, np.floor(fpr * sizes))
    rates = np.full(len(weights), np.nan)
    for place in np.unique(places[sizes > 0]):
        rows = (places == place) & (sizes > 0)
        found = first > second[order[place]] if place < len(second) else np.ones(len(first))
        rates[rows] = _drawn_share(found, owner, weights[rows])
    return rates


def _thresholds(owners: np.ndarray, against: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The place [samples] of the first non-member, from the highest down, with which more than ``allowed`` are drawn.

    ``owners`` are the clusters of the non-members in that order; the number of them where no such place is.
    """
    columns = np.ascontiguousarray(against.T)
    reached, places = np.zeros(len(against)), np.zeros(len(against), dtype=np.int64)
    for owner in owners:
        reached += columns[owner]
        within = reached <= allowed
        if not within.any():
            break
        places += within
    return places


def _drawn_share(found: np.ndarray, owner: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share [samples] of the drawn members that were found, from ``found`` [members]; NaN where none is drawn."""
    counts = [np.bincount(owner, weights=each, minlength=weights.shape[1]) for each in (found, np.ones(len(found)))]
    hits, sizes = product(weights, np.array(counts).T).T
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / sizes)


def _side(values: Values, bootstrap: Bootstrap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scored numbers of a side, the cluster of each, and how often each cluster is drawn [samples, clusters]."""
    clusters, owner = np.unique(np.array(values.clusters), return_inverse=True)
    scored = ~np.isnan(values.numbers)
    weights = draws(values.split, len(clusters), bootstrap.samples, bootstrap.seed)
    return values.numbers[scored], owner[scored], weights


def _wins(members: np.ndarray, non_members: np.ndarray) -> np.ndarray:
    """How many non-members each member is above, a tie counting half: [members]."""
    ordered = np.sort(non_members)
    return (np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")) / 2


def _wins_by_clusters(
    first: np.ndarray,
    owner: np.ndarray,
    weights: np.ndarray,
    second: np.ndarray,
    other: np.ndarray,
    against: np.ndarray,
) -> np.ndarray:
    """Wins [samples] from those between every two clusters, which no resample changes."""
    columns = [_wins(first, second[other == cluster]) for cluster in range(against.shape[1])]
    pairs = np.array([np.bincount(owner, weights=wins, minlength=weights.shape[1]) for wins in columns]).T
    return np.asarray(np.einsum("sc,sc->s", product(weights, pairs), against))


def _wins_by_resample(
    first: np.ndarray,
    owner: np.ndarray,
    weights: np.ndarray,
    second: np.ndarray,
    other: np.ndarray,
    against: np.ndarray,
) -> np.ndarray:
    """Wins [samples] by walking up the non-members once a resample: for many clusters, whose pairs are too many."""
    order = np.argsort(second, kind="stable")
    places = [np.searchsorted(second[order], first, side) for side in ("left", "right")]
    rows, wins = block_rows(len(first) + len(second) + 1), np.empty(len(weights))
    for start in range(0, len(weights), rows):
        drawn = against[start : start + rows, other[order]]
        below = np.zeros((len(drawn), len(second) + 1))
        np.cumsum(drawn, axis=1, out=below[:, 1:])
        mine = weights[start : start + rows, owner]
        wins[start : start + rows] = ((below[:, places[0]] + below[:, places[1]]) * mine).sum(axis=1) / 2
    return wins
