"""Discoverable extraction: whether the model goes on with a text word for word when it is given its beginning.

1: after the first 32, 50 or 100 tokens of the text the next ones follow exactly, all of them; 0: one of them is
another. A beginning-of-sequence token is given as well and counts among neither. Greedy decoding reproduces a stretch
if and only if every token of it is the first choice after the true tokens before it, so the hits of teacher forcing
tell, without generating. Carlini et al., 2022, arXiv:2202.07646, with 50 tokens to follow. A text that is so
extractable and stands k times in the training data is k-eidetic memorized (Carlini et al., 2020, arXiv:2012.07805);
here a text counts once. A chunk too short for the beginning and what follows is not asked, and a text of several
chunks gets their mean.
"""

import numpy as np
from pydantic import PositiveInt

from lethe import scores
from lethe.config import Section
from lethe.records import Likelihood, Records
from lethe.scores import Values

SCOPE = "split"
PREFIXES = {"extractable_after_32": 32, "extractable_after_50": 50, "extractable_after_100": 100}  # tokens given
RANGE = dict.fromkeys(PREFIXES, (0.0, 1.0))
DIRECTION = dict.fromkeys(PREFIXES, "match_oracle")
NEEDS = frozenset({"texts"})


class Config(Section):
    """How many tokens must follow."""

    match_tokens: PositiveInt


def compute(said: Records, config: Config) -> dict[str, Values]:
    """Whether each chunk that is long enough is extractable, for each length of the beginning."""
    chunks = scores.texts(said).likelihoods
    values = {name: _extractable(chunks, prefix, config.match_tokens) for name, prefix in PREFIXES.items()}
    return scores.where_asked(values, said)


def _extractable(chunks: list[Likelihood], prefix: int, match: int) -> Values:
    stretches = [(item, _following(item, prefix, match)) for item in chunks]
    asked = [(item, hits) for item, hits in stretches if len(hits) == match]
    found = [(item.id, float(hits.all())) for item, hits in asked]
    return scores.per_question(Records([item for item, _ in asked], []), found)


def _following(chunk: Likelihood, prefix: int, match: int) -> np.ndarray:
    """Whether each token behind the beginning was hit: [match], or fewer where the chunk ends before."""
    # Without a token before it the first one of the text is no target, and the hits begin with the second.
    start = prefix if chunk.has_start_token else prefix - 1
    return chunk.hits[start : start + match]
