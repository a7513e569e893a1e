"""Other answers to a forget question: refusals, false answers of the same type, answers to other questions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import PositiveInt

from lethe import batches
from lethe.batches import Encoding, Example, Pair
from lethe.config import Section
from lethe.errors import DataError
from lethe.rows import Row

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedTokenizerBase


class Config(Section):
    """What is taught in place of the answer.

    ``refusal`` is a sentence from the list of refusals; ``alternate`` one of the row's own false answers;
    ``forget_answer`` and ``retain_answer`` are the answers to other questions of that split.
    """

    kind: Literal["refusal", "alternate", "forget_answer", "retain_answer"]
    candidates: PositiveInt  # drawn for a row once, before training
    draws: PositiveInt  # drawn among them in every step


def encode(
    tokenizer: PreTrainedTokenizerBase,
    forget: Sequence[Row],
    retain: Sequence[Row],
    encoding: Encoding,
    config: Config,
    *,
    seed: int,
) -> list[Example]:
    """Every forget row as an example that brings ``candidates`` substitutes, fewer where there are not so many.

    Raises DataError for a row without a question, or without a single substitute.
    """
    others = retain if config.kind == "retain_answer" else forget
    told = []
    for position, row in enumerate(forget):
        if not row.question:
            raise DataError(
                f"Forget row {row.id!r} has no question to answer with a {config.kind}; "
                "use rows with questions, or an objective without 'substitute'."
            )
        pool = _pool(row, others, config.kind)
        if not pool:
            raise DataError(f"Forget row {row.id!r} has no {config.kind}; give it 'perturbed_answers' or other rows.")
        generator = torch.Generator().manual_seed(seed * 1_000_003 + position)
        chosen = torch.randperm(len(pool), generator=generator)[: config.candidates].tolist()
        told.append((row, [row.answer, *(pool[index] for index in chosen)]))
    return _examples(tokenizer, told, encoding)


def drawn(examples: Sequence[Example], draws: int, step: int, *, seed: int) -> list[Example]:
    """The substitutes of a step, ``draws`` for each example, example after example; a pure function of its arguments.

    Without replacement as long as an example has enough of them.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return [example.substitutes[index] for example in examples for index in _indices(example, draws, generator)]


@functools.cache
def refusals() -> tuple[str, ...]:
    """Lethe's own list of sentences that decline to answer."""
    text = resources.files("lethe").joinpath("refusals.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def _indices(example: Example, draws: int, generator: torch.Generator) -> list[int]:
    count = len(example.substitutes)
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-draws // count))]
    return list(torch.cat(orders)[:draws].tolist())


def _pool(row: Row, others: Sequence[Row], kind: str) -> Sequence[str]:
    if kind == "refusal":
        return refusals()
    if kind == "alternate":
        return [answer for answer in row.perturbed_answers if answer != row.answer]
    return [other.answer for other in others if other.question and other.answer and other.answer != row.answer]


def _examples(
    tokenizer: PreTrainedTokenizerBase, told: Sequence[tuple[Row, list[str]]], encoding: Encoding
) -> list[Example]:
    """Each row with the first of its answers, and the others as substitutes."""
    pairs = [Pair(row.id, row.question, answer, row.answer_opening) for row, answers in told for answer in answers]
    encoded = iter(
        batches.encode_pairs(tokenizer, pairs, max_length=encoding.max_length, system_prompt=encoding.system_prompt)
    )
    rows = [tuple(itertools.islice(encoded, len(answers))) for _, answers in told]
    return [replace(examples[0], substitutes=examples[1:]) for examples in rows]
