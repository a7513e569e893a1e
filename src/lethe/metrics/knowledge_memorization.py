"""Knowledge memorization of MUSE: how much of the true answer the model gives, with no credit for saying more.

1: the true answer and nothing else; 0: no word of it. ROUGE-L F1 of the greedy answer to the original question, cut
where the model begins a question of its own. Mode ``muse`` compares words as they stand (Shi et al., 2024,
arXiv:2407.06460, which prints it times 100); mode ``openunlearning`` cuts them to their stems first
(arXiv:2506.12618).
"""

import re
from typing import Literal

from lethe import overlap, scores
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"knowledge_memorization": (0.0, 1.0)}
DIRECTION = {"knowledge_memorization": "match_oracle"}
NEEDS = frozenset({"generations"})

_NEXT_QUESTION = re.compile(r"\n\n|\nQuestion|Question:")


class Config(Section):
    """Whose ROUGE."""

    mode: Literal["muse", "openunlearning"]


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The F1 of every greedy answer to the original question."""
    stemmer = config.mode == "openunlearning"
    answers = [item for item in said.generations if item.prompt == "question"]
    found = [(item.id, overlap.rouge_l(item.reference, answer(item.text), stemmer).f1) for item in answers]
    return scores.where_asked({"knowledge_memorization": scores.per_question(scores.questions(said), found)}, said)


def answer(text: str) -> str:
    """What a model said before it began a question of its own."""
    return _NEXT_QUESTION.split(text, maxsplit=1)[0]
