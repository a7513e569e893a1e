"""What only the log of the retain model can tell: forget quality."""

import numpy as np

from lethe.errors import DataError
from lethe.interchange import answers, layout, leaves
from lethe.interchange.layout import Split
from lethe.interchange.leaves import Leaf
from lethe.interchange.logs import Log
from lethe.interchange.settings import Settings
from lethe.metrics import forget_quality
from lethe.scores import Values


def scores(log: Log, retain: Log | None, chosen: Settings) -> dict[str, Leaf]:
    """Both tests against the retain model, from per-example truth ratios; the log's p-value without its log."""
    peer, forget = log.aggregate([layout.FORGET_QUALITY]), layout.SPLITS[0]
    mean, mode = chosen.forget_quality.mean, chosen.forget_quality.mode
    held = any(answers.truth_ratios(log, forget, mean, mode, route) is not None for route in answers.ROUTES)
    if retain is not None and held:
        pair = _same_route(log, retain, forget, chosen)
        tests = forget_quality.compare(pair, chosen.forget_quality, chosen.bootstrap)
        return {
            name: leaves.recomputed(score, peer if name == layout.FORGET_QUALITY else None)
            for name, score in tests.items()
        }
    reason = leaves.NEEDS_RETAIN if retain is None else f"the log has no per-example truth ratios of the {mean} mean"
    found = {name: leaves.missing(reason) for name in forget_quality.RANGE}
    if peer is None:
        return found
    found[layout.FORGET_QUALITY] = leaves.taken(peer, reason, f"not recomputed: {reason}")
    if peer > 0:
        log10_p = leaves.derived(float(np.log10(peer)), None, "the logarithm of the copied p-value")
        found[f"{layout.FORGET_QUALITY}_log10_p"] = log10_p
    return found


def _same_route(log: Log, retain: Log, forget: Split, chosen: Settings) -> list[Values]:
    """The truth ratios of both models, made in the same way if both logs allow one."""
    mean, mode = chosen.forget_quality.mean, chosen.forget_quality.mode
    for route in answers.ROUTES:
        found = [answers.truth_ratios(item, forget, mean, mode, route) for item in (log, retain)]
        pair = [item for item in found if item is not None]
        if len(pair) == 2:
            answers.require_same_questions(pair, (log, retain), "truth ratios on forget")
            return pair
    raise DataError(
        f"{retain.path}: its per-example truth ratios on forget are missing, or not held as {log.path} holds them; "
        "give the whole TOFU_EVAL.json of the retain model, with forget_Q_A_PARA_Prob and forget_Q_A_PERT_Prob."
    )
