"""From rows to what a model is asked: targets to score under teacher forcing, prompts to answer freely."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from lethe import batches, records
from lethe.batches import Encoding, Example, Pair
from lethe.errors import ConfigError
from lethe.rows import Row


@dataclass(frozen=True)
class Target:
    """What is scored under teacher forcing: an answer after its question, or a chunk of a text.

    ``kind``, ``index``, ``zlib_bytes`` and ``has_start_token`` are those of the record (``records.Likelihood``).
    """

    row: Row
    kind: str
    index: int
    example: Example
    zlib_bytes: int
    has_start_token: bool = False


@dataclass(frozen=True)
class Prompt:
    """What the model goes on from, by at most ``max_new_tokens``; ``field`` is the field of the row that asks.

    ``reference`` is the true answer, ``whole_reference`` that of a text (``records.Generation``).
    """

    row: Row
    field: str
    ids: list[int]
    max_new_tokens: int
    reference: str
    whole_reference: str = ""


def targets(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], encoding: Encoding) -> list[Target]:
    """Every target of every row: the answer, its paraphrase and its perturbations; or the chunks of a text.

    Raises DataError for an answer that is longer than ``encoding.max_length`` with its question.
    """
    rows = list(rows)
    asked = [(row, answer) for row in rows if not row.text for _, _, answer in _answers(row)]
    examples = iter(_encoded(tokenizer, asked, encoding))
    found: list[Target] = []
    for row in rows:
        if row.text:
            found += _chunks(tokenizer, row, encoding)
        else:
            found += [
                Target(row, kind, index, next(examples), _zlib_bytes(answer)) for kind, index, answer in _answers(row)
            ]
    return found


def after_prefix(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], encoding: Encoding, *, shots: int
) -> list[Target]:
    """The answers of the forget and holdout questions once more, behind what the model was never trained on.

    The prefix is the first ``shots`` holdout questions with their answers, each as it is asked; these rows are left
    out. Members lose by such a prefix and others do not (ReCaLL, Xie et al., 2024, arXiv:2406.15968). Raises
    ConfigError when no holdout question is left.
    """
    holdout = [row for row in rows if row.subset == records.HOLDOUT and row.question]
    if len(holdout) <= shots:
        raise ConfigError(
            f"params.yaml: infer: recall_shots is {shots}, but only {len(holdout)} holdout questions are asked; "
            "set a smaller number, or null to do without ReCaLL."
        )
    forget = [row for row in rows if row.subset == records.FORGET and row.question]
    asked = [(row, row.answer) for row in (*forget, *holdout)]
    encoded = dict(zip((row for row, _ in asked), _encoded(tokenizer, asked, encoding), strict=True))
    prefix = tuple(token for row in holdout[:shots] for token in encoded[row].ids)
    return [
        Target(
            row,
            records.ANSWER_AFTER_PREFIX,
            0,
            replace(encoded[row], ids=prefix + encoded[row].ids),
            _zlib_bytes(row.answer),
        )
        for row in (*forget, *holdout[shots:])
    ]


def prompts(
    tokenizer: PreTrainedTokenizerBase,
    rows: Iterable[Row],
    encoding: Encoding,
    *,
    paraphrased: bool,
    prefix_tokens: int | None,
) -> list[Prompt]:
    """The question of every row that has one and, if ``paraphrased``, its paraphrase behind it.

    Of a text its ``beginning``, if the row has one, or else the first ``prefix_tokens`` tokens, to be continued; None
    continues no other text, and one that ends before is left out.
    """
    found: list[Prompt] = []
    for row in rows:
        if row.beginning is not None:
            found.append(_given_beginning(tokenizer, row, encoding))
        elif row.text and prefix_tokens is not None:
            found += _beginning(tokenizer, row, encoding, prefix_tokens)
        elif row.question:
            found += _questions(tokenizer, row, encoding, paraphrased=paraphrased)
    return found


def _questions(
    tokenizer: PreTrainedTokenizerBase, row: Row, encoding: Encoding, *, paraphrased: bool
) -> Iterator[Prompt]:
    for field in ("question", "paraphrased_question") if paraphrased else ("question",):
        if asked := getattr(row, field):
            ids = batches.prompt_ids(tokenizer, asked, system_prompt=encoding.system_prompt, opening=row.answer_opening)
            yield Prompt(row, field, ids, _max_new_tokens(row, encoding), row.answer)


def _beginning(
    tokenizer: PreTrainedTokenizerBase, row: Row, encoding: Encoding, prefix_tokens: int
) -> Iterator[Prompt]:
    ids, start, limit = _tokens(tokenizer, row.text), _start(tokenizer), _max_new_tokens(row, encoding)
    rest = ids[prefix_tokens:]
    if rest:
        whole, cut = (str(tokenizer.decode(part)).strip() for part in (rest, rest[:limit]))
        yield Prompt(row, records.TEXT, start + ids[:prefix_tokens], limit, cut, whole)


def _given_beginning(tokenizer: PreTrainedTokenizerBase, row: Row, encoding: Encoding) -> Prompt:
    # As in MUSE's code the true continuation is encoded by itself, and a start token counts among those it is cut to.
    start, limit, whole = _start(tokenizer), _max_new_tokens(row, encoding), str(row.continuation)
    cut = tokenizer.decode(_tokens(tokenizer, whole)[: limit - len(start)])
    ids = start + _tokens(tokenizer, str(row.beginning))
    return Prompt(row, records.TEXT, ids, limit, str(cut).strip(), whole.strip())


def _start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _max_new_tokens(row: Row, encoding: Encoding) -> int:
    return encoding.max_new_tokens if row.max_new_tokens is None else row.max_new_tokens


def _answers(row: Row) -> list[tuple[str, int, str]]:
    """Kind, index and text of each answer that is scored."""
    wanted = [(records.ANSWER, 0, row.answer)] if row.answer else []  # an open question has none
    if row.paraphrased_answer:
        wanted.append((records.PARAPHRASED_ANSWER, 0, row.paraphrased_answer))
    return wanted + [(records.PERTURBED_ANSWER, index, answer) for index, answer in enumerate(row.perturbed_answers)]


def _encoded(tokenizer: PreTrainedTokenizerBase, asked: Iterable[tuple[Row, str]], encoding: Encoding) -> list[Example]:
    pairs = [Pair(row.id, row.question, answer, row.answer_opening) for row, answer in asked]
    return batches.encode_pairs(tokenizer, pairs, max_length=encoding.max_length, system_prompt=encoding.system_prompt)


def _chunks(tokenizer: PreTrainedTokenizerBase, row: Row, encoding: Encoding) -> Iterator[Target]:
    chunks = batches.encode_text(tokenizer, row.text, row=row.id, max_length=encoding.max_length)
    for index, example in enumerate(chunks):
        text = str(tokenizer.decode(example.ids, skip_special_tokens=True))
        starts = tokenizer.bos_token_id is not None  # every chunk begins with it then
        yield Target(row, records.TEXT, index, example, _zlib_bytes(text), starts)


def _zlib_bytes(text: str) -> int:
    return len(zlib.compress(text.encode("utf-8")))
