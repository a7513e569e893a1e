"""From rows to what a model is asked: targets to score under teacher forcing, prompts to answer freely."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lethe import batches, records
from lethe.batches import Encoding, Example
from lethe.rows import Row


@dataclass(frozen=True)
class Target:
    """What is scored under teacher forcing: an answer after its question, or a chunk of a text.

    ``kind``, ``index`` and ``zlib_bytes`` are those of the record (``records.Likelihood``).
    """

    row: Row
    kind: str
    index: int
    example: Example
    zlib_bytes: int


@dataclass(frozen=True)
class Prompt:
    """What an answer is generated for; ``field`` is the field of the row that asks."""

    row: Row
    field: str
    ids: list[int]


def targets(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], encoding: Encoding) -> list[Target]:
    """Every target of every row: the answer, its paraphrase and its perturbations; or the chunks of a text.

    Raises DataError for an answer that is longer than ``encoding.max_length`` with its question.
    """
    return [target for row in rows for target in (_chunks if row.text else _answers)(tokenizer, row, encoding)]


def prompts(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], encoding: Encoding, *, paraphrased: bool
) -> list[Prompt]:
    """The question of every row that has one and, if ``paraphrased``, its paraphrase behind it."""
    fields = ("question", "paraphrased_question") if paraphrased else ("question",)
    asked = [(row, field) for row in rows for field in fields if getattr(row, field)]
    return [
        Prompt(
            row,
            field,
            batches.prompt_ids(tokenizer, getattr(row, field), system_prompt=encoding.system_prompt),
        )
        for row, field in asked
    ]


def _answers(tokenizer: PreTrainedTokenizerBase, row: Row, encoding: Encoding) -> Iterator[Target]:
    wanted = [(records.ANSWER, 0, row.answer)]
    if row.paraphrased_answer:
        wanted.append((records.PARAPHRASED_ANSWER, 0, row.paraphrased_answer))
    wanted += [(records.PERTURBED_ANSWER, index, answer) for index, answer in enumerate(row.perturbed_answers)]
    for kind, index, answer in wanted:
        example = batches.encode_pair(
            tokenizer,
            row.question,
            answer,
            row=row.id,
            max_length=encoding.max_length,
            system_prompt=encoding.system_prompt,
        )
        yield Target(row, kind, index, example, _zlib_bytes(answer))


def _chunks(tokenizer: PreTrainedTokenizerBase, row: Row, encoding: Encoding) -> Iterator[Target]:
    chunks = batches.encode_text(tokenizer, row.text, row=row.id, max_length=encoding.max_length)
    for index, example in enumerate(chunks):
        text = str(tokenizer.decode(example.ids, skip_special_tokens=True))
        yield Target(row, records.TEXT, index, example, _zlib_bytes(text))


def _zlib_bytes(text: str) -> int:
    return len(zlib.compress(text.encode("utf-8")))
