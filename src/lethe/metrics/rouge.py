"""ROUGE-L recall of greedy answers: how much of the true answer stands in what the model says, in order.

1: every word, whatever else is said (verbosity costs nothing); 0: no word, or an empty answer. Longest common
subsequence over the number of words of the true answer, by ``rouge_score`` (Lin, 2004); with stemming as in
TOFU (Maini et al., 2024, arXiv:2401.06121). That package knows only the letters a–z and digits: a true answer
without any is unscored, not 0.
"""

from lethe import overlap, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"rouge": (0.0, 1.0)}
DIRECTION = {"rouge": "match_oracle"}
NEEDS = frozenset({"generations"})


class Config(Section):
    """Whether words are cut to their stems before they are compared (TOFU: yes, MUSE: no)."""

    stemmer: bool


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The recall of every greedy answer to the original question."""
    answers = [item for item in said.generations if item.prompt == "question"]
    recalls = [(item.id, recall(item.reference, item.text, config.stemmer)) for item in answers]
    return {"rouge": scores.per_question(scores.questions(said), recalls)}


def recall(reference: str, text: str, stemmer: bool) -> float:
    """ROUGE-L recall of ``text`` against ``reference``; NaN when the scorer sees no word in the reference."""
    return overlap.rouge_l(reference, text, stemmer).recall
