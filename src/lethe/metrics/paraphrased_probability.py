"""Paraphrased probability: how likely the model finds the answer in other words, a token.

1: certain of every token; near 0: a surprise. Unlearning that only shifts the wording it was shown leaves this behind.
The length-normalised probability exp(−mean NLL) of the paraphrased answer, the end-of-turn token included: ParaProb of
OpenUnlearning (arXiv:2506.12618), which reads it on the forget set.
"""

import numpy as np

from lethe import likelihoods, records, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"paraphrased_probability": (0.0, 1.0)}
DIRECTION = {"paraphrased_probability": "match_oracle"}
NEEDS = frozenset({"likelihoods", "paraphrased_answers"})


class Config(Section):
    """Nothing to choose."""


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The probability of every paraphrased answer; only where some answer has one, and on forget."""
    targets = [item for item in said.likelihoods if item.kind == records.PARAPHRASED_ANSWER]
    numbers = zip((item.id for item in targets), np.exp(-likelihoods.mean_nlls(targets)), strict=True)
    found = scores.per_question(scores.questions(said) if targets else Records([], []), numbers)
    return scores.where_asked({"paraphrased_probability": found}, said)
