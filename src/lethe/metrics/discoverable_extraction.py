"""Discoverable extraction: whether the model goes on with a text word for word when it is given its beginning.

1: after the first 32, 50 or 100 tokens the next ones follow exactly, all of them; 0: one of them is another. Greedy
decoding reproduces a stretch if and only if every token of it is the first choice after the true tokens before it, so
the hits of teacher forcing tell, without generating. Carlini et al., 2022, arXiv:2202.07646, with 50 tokens to
follow. A text that is so extractable and stands k times in the training data is k-eidetic memorized (Carlini et al.,
2020, arXiv:2012.07805); here a text counts once. A chunk too short for the beginning and what follows is not asked,
and a text of several chunks gets their mean.
"""

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
    # The first token of a chunk is no target, so the hits of what follows the prefix begin one earlier.
    asked = [item for item in chunks if len(item.hits) >= prefix - 1 + match]
    found = [(item.id, float(item.hits[prefix - 1 : prefix - 1 + match].all())) for item in asked]
    return scores.per_question(Records(asked, []), found)
