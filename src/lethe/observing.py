"""Look at an unlearned model beside target and retain model, once for all probes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lethe import artifacts, batches, config, generation, models, observed, questionnaire, registry, splits
from lethe.batches import Encoding, Pair
from lethe.errors import ArtifactError, ConfigError, DataError
from lethe.rows import Row, read_rows
from lethe.subjects import Question, Subjects, without_end


def subjects(model: str, encoding: Encoding, settings: observed.Config) -> Subjects:
    """The three models, the forget questions with an answer in the order of the prepared rows, and the kept ones.

    These are retain questions that the models are not asked otherwise; all, where all are asked.

    Raises DataError when no forget row is a question.
    """
    tokenizer = models.load_tokenizer(artifacts.model("target"))
    asked = questions(tokenizer, read_rows(artifacts.FORGET), encoding)
    if not asked:
        raise DataError(f"{artifacts.FORGET}: no row is a question, and a probe reads answers; set probe.run to [].")
    rows = read_rows(artifacts.RETAIN)
    kept = questions(tokenizer, splits.unasked(rows, read_rows(artifacts.QUESTIONS)) or rows, encoding)
    target, retain, unlearned = (models.load(artifacts.model(name)) for name in (*artifacts.CONTROLS, model))
    stop = frozenset[int]().union(*(generation.stop_tokens(each, tokenizer) for each in (target, retain, unlearned)))
    pad = int(tokenizer.pad_token_id)
    return Subjects(target, retain, unlearned, asked, kept, settings.batch_size, pad, tokenizer, stop)


def observe(given: Subjects, wanted: Mapping[str, Any], folder: Path) -> None:
    """Write what is wanted, each kind with its settings, into the folder.

    Raises ArtifactError when the settings are not those of the code.
    """
    for name, settings in wanted.items():
        module = registry.load("observations", name)
        try:
            checked = config.parse(module.Config, settings, name)
        except ConfigError as error:
            raise ArtifactError(f"{artifacts.WANTED}: does not fit ({error}); run `dvc repro resolve`.") from None
        observed.write(folder, name, module.observe(given, checked))


def questions(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], encoding: Encoding) -> list[Question]:
    """Every row that is a question, with its answers, and the prompt that inference answers from."""
    asked = [row for row in rows if row.question]
    told = [(row.answer, *row.perturbed_answers) for row in asked]
    pairs = [
        Pair(row.id, row.question, answer, row.answer_opening)
        for row, answers in zip(asked, told, strict=True)
        for answer in answers
    ]
    limits: dict[str, Any] = {"max_length": encoding.max_length, "system_prompt": encoding.system_prompt}
    encoded = map(without_end, batches.encode_pairs(tokenizer, pairs, **limits))
    prompts = questionnaire.prompts(tokenizer, asked, encoding, paraphrased=False, prefix_tokens=None)
    found = []
    for row, answers, prompt in zip(asked, told, prompts, strict=True):
        true, *false = itertools.islice(encoded, len(answers))
        ids, text = tuple(prompt.ids), prompt.reference.strip()
        found.append(Question(row.id, row.cluster, true, tuple(false), text, ids, prompt.max_new_tokens))
    return found
