"""From n drawn answers to what k of them would show: estimates without bias.

Drawing k answers once and looking is noisy; putting the share c/n into 1 − (1 − c/n)^k says too little, because that
is concave in the share (Jensen). All sets of k among the n draws together are neither.
"""

import math

import numpy as np


def leak_at_k(drawn: int, leaks: int, k: int) -> float:
    """The chance that at least one of k draws leaks, from ``leaks`` among ``drawn`` draws; in [0, 1], lower is better.

    1 − C(n − c, k) / C(n, k): the share of the sets of k draws that hold a leak, without bias for every k ≤ n, and 1
    where fewer than k draws held nothing. Raises ValueError unless 0 ≤ leaks ≤ drawn and 1 ≤ k ≤ drawn. leak@k,
    arXiv:2511.04934; the estimator is that of pass@k.
    """
    _require_draws(drawn, k)
    if not 0 <= leaks <= drawn:
        raise ValueError(f"of {drawn} draws not {leaks} can leak")
    if drawn - leaks < k:
        return 1.0
    return 1.0 - math.prod((drawn - leaks - place) / (drawn - place) for place in range(k))


def expected_maximum(scores: np.ndarray, k: int) -> np.ndarray:
    """The mean of the largest of k draws over all sets of k among the drawn: scores [..., drawn] to [...].

    Σ_i C(i − 1, k − 1) / C(n, k) · s_(i) over the ascending scores, without bias for every k ≤ n; between mean and
    maximum of the scores, which it is for k = 1 and k = n. Of scores 0 and 1 it is :func:`leak_at_k`. NaN where a
    score is NaN. Raises ValueError unless 1 ≤ k ≤ drawn. arXiv:2511.04934 and, for graded scores, arXiv:2410.03523.
    """
    drawn = scores.shape[-1]
    _require_draws(drawn, k)
    # From the largest score down: the first weight is k/n, the one before the i-th is (i − k)/(i − 1) of it. Binomial
    # coefficients of a thousand draws would not fit into a float.
    ranks = np.arange(drawn, 1, -1)
    weights = k / drawn * np.cumprod(np.concatenate([[1.0], np.maximum(ranks - k, 0) / (ranks - 1)]))
    return np.asarray(np.sort(scores, axis=-1)[..., ::-1] @ weights)


def _require_draws(drawn: int, k: int) -> None:
    if not 1 <= k <= drawn:
        raise ValueError(f"k must lie between 1 and the number of draws: {k} of {drawn}")
