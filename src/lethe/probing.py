"""Put the probes to an unlearned model, beside target and retain model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from pydantic import PositiveInt

from lethe import artifacts, batches, generation, models, splits
from lethe.batches import Encoding, Pair
from lethe.config import Section
from lethe.errors import DataError
from lethe.residuals import Question, Subjects, without_end
from lethe.rows import Row, read_rows
from lethe.scores import Score
from lethe.statistics import Bootstrap


class Config(Section):
    """Which probes look at every unlearned model, and how many answers it reads at once."""

    run: list[str]
    batch_size: PositiveInt  # a matter of speed and memory, not of results


def subjects(model: str, encoding: Encoding, config: Config) -> Subjects:
    """The three models, the forget questions with an answer in the order of the prepared rows, and the kept answers.

    These are of retain questions that the models are not asked otherwise; of all, where all are asked.

    Raises DataError when no forget row is a question.
    """
    tokenizer = models.load_tokenizer(artifacts.model("target"))
    questions = _questions(tokenizer, [row for row in read_rows(artifacts.FORGET) if row.question], encoding)
    if not questions:
        raise DataError(f"{artifacts.FORGET}: no row is a question, and a probe reads answers; set probe.run to [].")
    target, retain, unlearned = (models.load(artifacts.model(name)) for name in ("target", "retain", model))
    rows = read_rows(artifacts.RETAIN)
    rows = splits.unasked(rows, read_rows(artifacts.QUESTIONS)) or rows
    kept = [one.answer for one in _questions(tokenizer, [row for row in rows if row.question], encoding)]
    stop = frozenset[int]().union(*(generation.stop_tokens(each, tokenizer) for each in (target, retain, unlearned)))
    return Subjects(
        target,
        retain,
        unlearned,
        questions,
        kept,
        config.batch_size,
        int(tokenizer.pad_token_id),
        tokenizer,
        stop,
        encoding.max_new_tokens,
    )


def run(
    probes: Mapping[str, tuple[ModuleType, Section]], given: Subjects, bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """What each probe finds, by its name, ready for JSON."""
    return {name: _plain(module.probe(given, config, bootstrap)) for name, (module, config) in probes.items()}


def _plain(found: Mapping[str, Score | Sequence[float]]) -> dict[str, Any]:
    return {name: value.as_json() if isinstance(value, Score) else value for name, value in found.items()}


def _questions(tokenizer: Any, rows: Sequence[Row], encoding: Encoding) -> list[Question]:
    told = [(row, (row.answer, *row.perturbed_answers)) for row in rows]
    pairs = [Pair(row.id, row.question, answer, row.answer_opening) for row, answers in told for answer in answers]
    encoded = map(
        without_end,
        batches.encode_pairs(tokenizer, pairs, max_length=encoding.max_length, system_prompt=encoding.system_prompt),
    )
    found = []
    for row, answers in told:
        answer, *false = itertools.islice(encoded, len(answers))
        found.append(Question(row.id, row.cluster, answer, tuple(false)))
    return found
