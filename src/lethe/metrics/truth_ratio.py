"""Truth ratio: how likely false answers are, compared with a true one.

``truth_ratio`` on forget and holdout is the form *closer to 1*, min(TR, 1/TR): 1 when false and true answers
are equally likely (nothing is known), near 0 when one side is preferred. On retain and utility it is the form
*true better*, max(0, 1 − TR): near 1 when the true answer is preferred, 0 when it is not.
``truth_ratio_knowledge`` is P / (P + P_false) = σ(−log TR), the share of the true answer: 1 knows, 0.5 cannot tell,
below 0.5 prefers what is false.

TR is the mean probability of the false answers over that of the correct one
(:func:`lethe.likelihoods.truth_ratios`). Forms per split as TOFU (Maini et al., 2024, arXiv:2401.06121),
knowledge form as OpenUnlearning (arXiv:2506.12618). Deviation: the released code of OpenUnlearning adds 1e-10 to every
denominator, which decides the result once a model has collapsed; mode ``exact`` computes in log space without it, mode
``openunlearning`` (with ``mean: geometric``) does what the code does: TR = P_false / (P + 1e-10), closer to 1
min(TR, 1/(TR + 1e-10)), true better max(0, 1 − TR), knowledge P / (P + P_false + 1e-10), its ``prob_mean``. A model
that gives every answer 30 nats a token has 1, 0 and 0.5 in ``exact``, 9.3e-4, 0.999 and 9.3e-4 in ``openunlearning``.
"""

from collections.abc import Callable

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
    """How the false answers of a question are averaged, and whether the 1e-10 of the released code is in the ratios."""

    mean: likelihoods.Mean
    mode: likelihoods.Mode


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The form that belongs to the split, and the knowledge form."""
    found = of_ratios(likelihoods.truth_ratios(said, config.mean, config.mode), config.mode)
    return found if config.mode == "exact" else {**found, "truth_ratio_knowledge": _shares(said, config.mean)}


def of_ratios(ratios: Values, mode: likelihoods.Mode) -> dict[str, Values]:
    """What truth ratios tell by themselves, as the mode has them: in ``exact`` their logs, which tell both forms.

    In ``openunlearning`` they do not tell the knowledge form, because the 1e-10 is in them.
    """
    never_kept = scores.is_forget(ratios.split) or ratios.split == records.HOLDOUT
    if mode == "openunlearning":
        return {"truth_ratio": _mapped(ratios, released_closer_to_1 if never_kept else released_true_better)}
    form = closer_to_1 if never_kept else true_better
    return {"truth_ratio": _mapped(ratios, form), "truth_ratio_knowledge": _mapped(ratios, knowledge)}


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


def released_closer_to_1(ratios: np.ndarray) -> np.ndarray:
    """min(TR, 1/(TR + 1e-10)), in [0, 1): the code of OpenUnlearning, whose TR carries another 1e-10."""
    return np.asarray(np.minimum(ratios, 1 / (ratios + likelihoods.EPSILON)))


def released_true_better(ratios: np.ndarray) -> np.ndarray:
    """max(0, 1 − TR), in [0, 1]: the code of OpenUnlearning, where TR is 0 for false answers that are hopeless."""
    return np.asarray(np.maximum(0, 1 - ratios))


def _shares(said: Records, mean: likelihoods.Mean) -> Values:
    found = [
        (name, likelihoods.released_share(item.correct, np.array([likelihoods.false_nll(item, mean)])))
        for name, item in likelihoods.compared(said).items()
    ]
    return scores.per_question(scores.questions(said), found)


def _mapped(ratios: Values, form: Callable[[np.ndarray], np.ndarray]) -> Values:
    return Values(ratios.split, ratios.ids, ratios.clusters, form(ratios.numbers))
