"""Accuracy in multiple choice by letters, each question asked under every cyclic shift of its options.

1: the right letter is the likeliest of the letters, wherever the right option stands; one over the number of options:
guessing, or a liking for one letter. ``choice_letter_mass`` is the probability that the model says one of the letters
at all: near 1 it follows the format, near 0 the accuracy says nothing about knowledge, as after the misdirection of
representations (Li et al., 2024, arXiv:2403.03218). Several likeliest letters share the point. Only splits made by
``lethe.choices`` are scored.
"""

from collections import defaultdict

import numpy as np

from lethe import choices, likelihoods, records, scores
from lethe.config import Section
from lethe.records import Likelihood, Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"choice_accuracy": (0.0, 1.0), "choice_letter_mass": (0.0, 1.0)}
DIRECTION = dict.fromkeys(RANGE, "match_oracle")
NEEDS = frozenset({"likelihoods", "choice_questions"})


class Config(Section):
    """Nothing to choose."""


def compute(said: Records, config: Config) -> dict[str, Values]:
    """Whether each shifted question is answered with the right letter, and how likely any letter is."""
    asked = Records([item for item in said.likelihoods if choices.is_by_letter(item.split)], [])
    letters: dict[str, list[Likelihood]] = defaultdict(list)
    for item in asked.likelihoods:
        letters[item.id].append(item)
    numbers = {name: _numbers(found) for name, found in letters.items()}
    values = {
        name: scores.per_question(asked, [(identity, found[place]) for identity, found in numbers.items()])
        for place, name in enumerate(RANGE)
    }
    return scores.where_asked(values, said)


def _numbers(letters: list[Likelihood]) -> tuple[float, float]:
    """The point for one question, and the mass on its letters; NaN when a side of the choice was not scored."""
    # The end of turn behind a letter tells nothing about the choice.
    logs = [
        (item.kind, float(item.log_probs[: likelihoods.num_counted(item, "if_ends_turn")].sum(dtype=np.float64)))
        for item in letters
    ]
    right = [log for kind, log in logs if kind == records.ANSWER]
    others = [log for kind, log in logs if kind == records.PERTURBED_ANSWER]
    if not right or not others:
        return float("nan"), float("nan")
    mass = np.exp([right[0], *sorted(others)]).sum()
    return choices.point(right[0], others), float(min(mass, 1.0))  # rounding may take the sum just above 1
