"""Truth ratio: how likely false answers are, compared with a true one.

``truth_ratio`` on forget and holdout is the form *closer to 1*, min(TR, 1/TR): 1 when false and true answers
are equally likely (nothing is known), near 0 when one side is preferred. On retain and utility it is the form
*true better*, max(0, 1 − TR): near 1 when the true answer is preferred, 0 when it is not.
``truth_ratio_knowledge`` is σ(−log TR), the share of the true answer: 1 knows, 0.5 cannot tell, below 0.5
prefers what is false.

TR is the mean probability of the false answers over that of the correct one
(:func:`lethe.likelihoods.log_truth_ratios`). Forms per split as TOFU (Maini et al., 2024, arXiv:2401.06121),
knowledge form as OpenUnlearning (arXiv:2506.12618). Deviation: log space instead of the released code's
additive 1e-10, which decides the result once a model has collapsed.
"""

import numpy as np

from lethe import likelihoods, records, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"truth_ratio": (0.0, 1.0), "truth_ratio_knowledge": (0.0, 1.0)}
DIRECTION = {"truth_ratio": "match_oracle", "truth_ratio_knowledge": "match_oracle"}
NEEDS = frozenset({"likelihoods", "paraphrased_answers", "perturbed_answers"})


class Config(Section):
    """How the false answers of a question are averaged."""

    mean: likelihoods.Mean


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The form that belongs to the split, and the knowledge form."""
    logs = likelihoods.log_truth_ratios(said, config.mean)
    never_kept = scores.is_forget(logs.split) or logs.split == records.HOLDOUT
    form = closer_to_1 if never_kept else true_better
    return {
        "truth_ratio": _mapped(logs, form(logs.numbers)),
        "truth_ratio_knowledge": _mapped(logs, knowledge(logs.numbers)),
    }


def closer_to_1(log_ratios: np.ndarray) -> np.ndarray:
    """min(TR, 1/TR), in (0, 1]."""
    return np.asarray(np.exp(-np.abs(log_ratios)))


def true_better(log_ratios: np.ndarray) -> np.ndarray:
    """max(0, 1 − TR), in [0, 1)."""
    return np.asarray(-np.expm1(np.minimum(log_ratios, 0.0)))


def knowledge(log_ratios: np.ndarray) -> np.ndarray:
    """P_correct / (P_correct + P_false) = σ(−log TR), in (0, 1)."""
    with np.errstate(invalid="ignore"):  # NaN is an unscored question
        return np.asarray(np.exp(-np.logaddexp(0.0, log_ratios)))


def _mapped(logs: Values, numbers: np.ndarray) -> Values:
    return Values(logs.split, logs.ids, logs.clusters, numbers)
