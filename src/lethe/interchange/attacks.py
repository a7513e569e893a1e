"""Membership attacks and PrivLeak, from the scores that a log holds of every forget and holdout example.

The log's scores are like losses, lower for what was trained on; ours are their negatives (:mod:`lethe.membership`).
PrivLeak is our ``privacy_leakage`` of the attack Min-K %. Deviation: without the retain model it is missing, where the
released code silently takes 0.5 for the retain model's AUC.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lethe import membership, statistics
from lethe.interchange import answers, layout, leaves
from lethe.interchange.leaves import Leaf
from lethe.interchange.logs import Log
from lethe.membership import Formula, Sides
from lethe.metrics import privacy_leakage
from lethe.records import FORGET, HOLDOUT
from lethe.statistics import Bootstrap

_LEAKAGE: Formula = functools.partial(privacy_leakage.leakage, mode="standard")


class Attacked(NamedTuple):
    """One attack on one model: the scores of its examples, if the log has them, and the log's AUC."""

    log: Log
    source: str
    sides: Sides | None
    aggregate: float | None

    @property
    def auc(self) -> float | None:
        """The AUC, recomputed if possible."""
        if self.sides is None:
            return self.aggregate
        found = statistics.auc(*(side.numbers[~np.isnan(side.numbers)] for side in self.sides))
        return None if np.isnan(found) else found


def scores(log: Log, retain: Log | None, bootstrap: Bootstrap) -> dict[str, Leaf]:
    """Every attack's numbers and the privacy leakage, under the names of our own metrics."""
    found: dict[str, Leaf] = {}
    for name, source in layout.ATTACKS.items():
        model = _attacked(log, source)
        other = None if retain is None else _attacked(retain, source)
        formulas = _formulas(name)
        found |= _alone(name, model, bootstrap)
        if other is None:
            found |= {label: leaves.missing(leaves.NEEDS_RETAIN) for label in formulas}
        else:
            found |= _compared(model, other, formulas, bootstrap)
    return {**found, **_leakage(log, retain, bootstrap)}


def _formulas(name: str) -> dict[str, Formula]:
    return {f"{name}{membership.DIFFERENCE}": np.subtract, f"{name}_similarity": membership.similarity}


def _attacked(log: Log, source: str) -> Attacked:
    both = [answers.values(log, side, "score", [source], side) for side in (FORGET, HOLDOUT)]
    there = [replace(side, numbers=-side.numbers) for side in both if side is not None]
    return Attacked(log, source, Sides(*there) if len(there) == 2 else None, log.aggregate([source]))


def _alone(name: str, model: Attacked, bootstrap: Bootstrap) -> dict[str, Leaf]:
    """What needs no retain model: the AUC, and how the curve begins."""
    auc, *rates = (label for label in membership.ranges(name) if label not in _formulas(name))
    if model.sides is None:
        nothing = leaves.missing("the log has no per-example scores of both sides")
        return {auc: leaves.taken(model.aggregate, leaves.NOTHING), **dict.fromkeys(rates, nothing)}
    found = membership.results(name, model.sides, model.sides, bootstrap)
    return {
        label: leaves.recomputed(found[label], model.aggregate if label == auc else None) for label in (auc, *rates)
    }


def _compared(
    model: Attacked, other: Attacked, formulas: dict[str, Formula], bootstrap: Bootstrap, peer: float | None = None
) -> dict[str, Leaf]:
    """What formulas make of the AUCs of the model and of the retain model."""
    if model.sides is not None and other.sides is not None:
        for pair in zip(model.sides, other.sides, strict=True):
            answers.require_same_questions(pair, (model.log, other.log), f"{model.source} scores on {pair[0].split}")
        found = membership.compared(model.sides, other.sides, formulas, bootstrap)
        return {label: leaves.recomputed(score, peer) for label, score in found.items()}
    lacking = " and ".join(item.log.path.as_posix() for item in (model, other) if item.auc is None)
    if lacking:
        return {label: leaves.missing(f"no {model.source} in {lacking}", peer) for label in formulas}
    return {
        label: leaves.derived(float(formula(model.auc, other.auc)), peer, "rests on a copied AUC")
        for label, formula in formulas.items()
    }


def _leakage(log: Log, retain: Log | None, bootstrap: Bootstrap) -> dict[str, Leaf]:
    model, peer = _attacked(log, layout.PRIVLEAK_ATTACK), log.aggregate([layout.PRIVLEAK])
    (name,) = privacy_leakage.RANGE
    if retain is not None:
        return _compared(model, _attacked(retain, layout.PRIVLEAK_ATTACK), {name: _LEAKAGE}, bootstrap, peer)
    if peer is not None and model.auc is not None and abs(peer - float(_LEAKAGE(model.auc, 0.5))) < 1e-6:
        return {name: leaves.missing(f"{leaves.NEEDS_RETAIN}: the log's own value takes 0.5 for its AUC", peer)}
    return {name: leaves.taken(peer, leaves.NEEDS_RETAIN, f"not recomputed: {leaves.NEEDS_RETAIN}")}
