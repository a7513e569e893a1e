"""Exact memorization: the share of an answer's tokens that are the model's first choice after the true ones.

1: every token; 0: none. Tirumala et al., 2022, arXiv:2205.10770, as used by OpenUnlearning
(arXiv:2506.12618), which leaves out the last token unconditionally (``drop_eos: always_last``). An answer
without a token left is unscored.
"""

import numpy as np

from lethe import likelihoods, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"exact_memorization": (0.0, 1.0)}
DIRECTION = {"exact_memorization": "match_oracle"}
NEEDS = frozenset({"likelihoods"})


class Config(Section):
    """Whether the closing token counts."""

    drop_eos: likelihoods.DropEos


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The share of hits in every answer or text."""
    shares = [(item.id, memorized(likelihoods.hits(item, config.drop_eos))) for item in likelihoods.known(said)]
    return {"exact_memorization": scores.per_question(said, shares)}


def memorized(hits: np.ndarray) -> float:
    """Mean of the hits [tokens]; NaN without a token."""
    return np.count_nonzero(hits) / len(hits) if len(hits) else float("nan")
