"""Extraction strength: the share of an answer that the model completes by itself, from the end backwards.

1: the whole answer follows from the question; 0: not even its last token follows from all before it. With m
the length of the longest suffix whose tokens are all first choices, it is m/n. Carlini et al., 2021,
arXiv:2012.07805; the form of OpenUnlearning (arXiv:2506.12618), and of Unlearning with Control
(arXiv:2406.09179), which compares models after mixing each with the target until all keep as much: score the
mixed model. Deviation: the released code of OpenUnlearning returns 1/n where the last token is missed and 0
for an answer without a token; mode ``exact`` returns 0 and nothing, mode ``openunlearning`` what the code does.
"""

from typing import Literal

import numpy as np

from lethe import likelihoods, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"extraction_strength": (0.0, 1.0)}
DIRECTION = {"extraction_strength": "match_oracle"}
NEEDS = frozenset({"likelihoods"})


class Config(Section):
    """Whether the closing token counts, and what a missed last token gives."""

    drop_eos: likelihoods.DropEos
    mode: Literal["exact", "openunlearning"]


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The extraction strength of every answer or text."""
    form = {"exact": strength, "openunlearning": released_strength}[config.mode]
    shares = [(item.id, form(likelihoods.hits(item, config.drop_eos))) for item in likelihoods.known(said)]
    return {"extraction_strength": scores.per_question(said, shares)}


def strength(hits: np.ndarray) -> float:
    """Length of the longest suffix of hits over their number [tokens]; NaN without a token."""
    misses = np.flatnonzero(~hits)
    suffix = len(hits) - 1 - misses[-1] if len(misses) else len(hits)
    return float(suffix / len(hits)) if len(hits) else float("nan")


def released_strength(hits: np.ndarray) -> float:
    """The strength as the code of OpenUnlearning has it: never less than one token, and 0 without a token."""
    return max(strength(hits), 1 / len(hits)) if len(hits) else 0.0
