"""Multiple choice by letters, asked through ordinary rows: the options stand in the question, the letters are answers.

A model may know a fact and not the format, or like the letter A best. So every question is asked once for each cyclic
shift of its options: with four of them the right one stands behind each letter once, and one that always says the same
letter is right a quarter of the time. The right letter is the row's ``answer``, the other letters its
``perturbed_answers``: teacher forcing scores them all. The rows are a split of their own, whose name ends in
``_by_letter``; metrics find them by it.
"""

import math
import string
from collections.abc import Sequence

from lethe.rows import Row

SUFFIX = "_by_letter"
LETTERS = string.ascii_uppercase


def is_by_letter(split: str) -> bool:
    """Whether the questions of a split are multiple choice by letters."""
    return split.endswith(SUFFIX)


def shifted_rows(
    question: str, options: Sequence[str], right: int, *, identity: str, cluster: str, subset: str
) -> list[Row]:
    """One row for each cyclic shift of the options; ``right`` is the place of the true one, from 0.

    Row ``<identity>-shift<k>`` begins with option k. The rows belong to the split ``<subset>_by_letter``. The format is
    that of WMDP (Li et al., 2024, arXiv:2403.03218) behind the chat format of the model.

    Raises ValueError unless there are two to 26 different options and ``right`` is one of them.
    """
    if not 2 <= len(options) <= len(LETTERS) or len(set(options)) < len(options) or right not in range(len(options)):
        raise ValueError("expected two to 26 different choices, and the answer as the place of one, counted from 0")
    letters = LETTERS[: len(options)]
    rows = []
    for shift in range(len(options)):
        lines = [f"{letter}. {options[(place + shift) % len(options)]}" for place, letter in enumerate(letters)]
        answer = letters[(right - shift) % len(options)]
        rows.append(
            Row(
                id=f"{identity}-shift{shift}",
                cluster=cluster,
                question="\n".join([question, *lines]),
                answer=answer,
                perturbed_answers=tuple(letter for letter in letters if letter != answer),
                subset=f"{subset}{SUFFIX}",
            )
        )
    return rows


def point(right: float, others: Sequence[float]) -> float:
    """1 when the right option is the likeliest, 0 when another is; several likeliest ones share the point.

    lm-eval gives the point to the first of them, so that options in a lucky order are known by chance. NaN when a
    log-likelihood is.
    """
    best = max(right, *others)
    if math.isnan(right + sum(others)):
        return math.nan
    return 1 / (1 + sum(other == best for other in others)) if right == best else 0.0
