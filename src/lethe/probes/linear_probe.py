"""Linear probe: whether the states still tell the true answer from false ones, whatever the model says.

A logistic regression reads the state that a block hands on at the last token of an answer and says whether the answer
is the true one. It is tested on clusters (authors) that it was not fitted on, and block and strength of the penalty
are chosen on the fitted clusters alone (nested cross-validation): fitted and tested on the same rows, a probe finds
anything.

Reported are the AUC on the unlearned, the retain and the target model, and ``selectivity``: the AUC minus that of a
probe fitted to labels drawn by lot (Hewitt & Liang, 2019, arXiv:1909.03368). 0.5 is chance. Above the retain model's,
the states know what a model that never saw the forget set cannot know. Where true and false answers differ in more than
was taught, the probe tells as much on all models: the target, which knows, says whether it has any power.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from pydantic import Field

from lethe import statistics
from lethe.config import Section
from lethe.observed import Observed
from lethe.records import FORGET
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap

OBSERVATION = "states"

_MODELS = {"linear_probe": "unlearned", "linear_probe_retain": "retain", "linear_probe_target": "target"}

logger = logging.getLogger(__name__)


class Config(Section):
    """How the probe is fitted and tested."""

    folds: int = Field(ge=2)  # of clusters, for testing
    inner_folds: int = Field(ge=2)  # of the fitted clusters, for choosing block and penalty
    inverse_penalties: list[float] = Field(min_length=1)  # candidates for the C of logistic regression
    seed: int  # draws the labels of the control


def probe(observed: Observed, config: Config, bootstrap: Bootstrap) -> dict[str, Score | list[float]]:
    """AUC of the probe on each model, and how much of that on the unlearned one is more than chance fitting."""
    observed = observed.take(np.argsort(observed.column("row")).tolist())
    labels, clusters = observed.column("is_true").astype(bool), observed.column("cluster")
    if len(set(clusters)) < max(config.folds, config.inner_folds + 1) or labels.all():
        logger.warning(
            "linear_probe: %d false answers, and %d clusters for %d folds and %d inner ones; nothing is fitted",
            (~labels).sum(),
            len(set(clusters)),
            config.folds,
            config.inner_folds,
        )
        missing = Score(None, None, None, 0, len(observed.questions()[0]))
        return dict.fromkeys((*_MODELS, "linear_probe_selectivity"), missing)
    states = {name: found[:, observed.column("row")] for name, found in observed.vectors.items()}
    by_lot = np.random.default_rng(config.seed).permutation(labels)
    fitted = {name: (states[model], labels) for name, model in _MODELS.items()}
    fitted["by_lot"] = (states["unlearned"], by_lot)
    found = {
        name: _auc(out_of_fold(read, wanted, clusters, config), wanted, clusters, bootstrap)
        for name, (read, wanted) in fitted.items()
    }
    chance = found.pop("by_lot").value
    value = found["linear_probe"].value
    selectivity = None if value is None or chance is None else value - chance
    counts = (found["linear_probe"].n, found["linear_probe"].unscored)
    return {**found, "linear_probe_selectivity": Score(selectivity, None, None, *counts)}


def out_of_fold(states: np.ndarray, labels: np.ndarray, clusters: np.ndarray, config: Config) -> np.ndarray:
    """For each answer what a probe fitted on other clusters holds of its being true: [answers], in [0, 1].

    ``states`` is [blocks, answers, width].
    """
    decisions = np.full(len(labels), np.nan)
    for fitted, tested in _folds(clusters, config.folds):
        block, penalty = _choice(states[:, fitted], labels[fitted], clusters[fitted], config)
        decisions[tested] = _fit(states[block][fitted], labels[fitted], penalty, states[block][tested])
    return decisions


def _choice(states: np.ndarray, labels: np.ndarray, clusters: np.ndarray, config: Config) -> tuple[int, float]:
    def mean_auc(block: int, penalty: float) -> float:
        aucs = []
        for fitted, tested in _folds(clusters, config.inner_folds):
            held = _fit(states[block][fitted], labels[fitted], penalty, states[block][tested])
            aucs.append(statistics.auc(held[labels[tested]], held[~labels[tested]]))
        return float(np.nanmean(aucs)) if np.isfinite(aucs).any() else -np.inf

    candidates = [(block, penalty) for block in range(len(states)) for penalty in config.inverse_penalties]
    return max(candidates, key=lambda candidate: mean_auc(*candidate))


def _folds(clusters: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters.tolist()))}
    fold = np.array([order[cluster] % count for cluster in clusters.tolist()])
    for number in range(count):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _fit(fitted: np.ndarray, labels: np.ndarray, penalty: float, tested: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    if labels.all() or not labels.any():  # one class alone cannot be told from another
        return np.full(len(tested), np.nan)
    center, spread = fitted.mean(axis=0), fitted.std(axis=0) + 1e-6
    regression = LogisticRegression(C=penalty, max_iter=500).fit((fitted - center) / spread, labels)
    return np.asarray(regression.predict_proba((tested - center) / spread)[:, 1])


def _auc(decisions: np.ndarray, labels: np.ndarray, clusters: np.ndarray, bootstrap: Bootstrap) -> Score:
    sides = []
    for wanted in (labels, ~labels):
        places = np.flatnonzero(wanted)
        names = tuple(clusters[places].tolist())
        sides.append(Values(FORGET, tuple(map(str, places)), names, decisions[places]))
    n, unscored = sum(side.n for side in sides), sum(side.unscored for side in sides)
    if not all(side.n for side in sides):
        return Score(None, None, None, n, unscored)
    value = statistics.auc(*(side.numbers[np.isfinite(side.numbers)] for side in sides))
    low, high = statistics.bounds(statistics.resampled_aucs(sides[0], sides[1], bootstrap), sides, bootstrap)
    return Score(value, low, high, n, unscored)
