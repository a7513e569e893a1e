"""Probability: how likely the model finds the answer, a token.

1: certain of every token; near 0: a surprise. The length-normalised probability exp(−mean NLL) of the answer,
the end-of-turn token included, as in TOFU (Maini et al., 2024, arXiv:2401.06121). On a utility subset whose
questions bring false answers there is also the ``normalised_probability``: that of the answer among the
options, P / (P + Σ P_false), a softmax over −mean NLL.

Deviation: the released code of OpenUnlearning adds 1e-10 to that denominator, which decides the result once a model
finds all options less likely than that; mode ``exact`` needs none in log space, mode ``openunlearning`` is what the
code does (:func:`lethe.likelihoods.released_share`). The plain probability is the same in both.
"""

import numpy as np

from lethe import likelihoods, records, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"probability": (0.0, 1.0), "normalised_probability": (0.0, 1.0)}
DIRECTION = {"probability": "match_oracle", "normalised_probability": "match_oracle"}
NEEDS = frozenset({"likelihoods"})


class Config(Section):
    """Whether the 1e-10 of the released code stands in the normalised probability."""

    mode: likelihoods.Mode


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The probability of every answer or text; on a utility subset also among the options."""
    found = {"probability": likelihoods.probabilities(said)}
    among = likelihoods.options(said, records.ANSWER)
    if among and scores.is_utility(said.splits()[0]):
        share = {"exact": _share, "openunlearning": likelihoods.released_share}[config.mode]
        shares = [(name, share(item.correct, item.false)) for name, item in among.items()]
        found["normalised_probability"] = scores.per_question(said, shares)
    return found


def _share(correct: float, false: np.ndarray) -> float:
    # P / (P + Σ P_false) = 1 / (1 + Σ exp(L − L_false)); a hopeless answer overflows to a share of exactly 0.
    with np.errstate(over="ignore"):
        return float(1 / (1 + np.exp(correct - false).sum()))
