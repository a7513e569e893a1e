"""From rows to tensors: prompts, targets, padding. Shift, mask and boundary are settled here once for everybody."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor

from lethe.config import Section
from lethe.errors import DataError
from lethe.rows import Row

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

TEMPLATE_DATE = "01 Jan 2025"  # some chat templates print today's, and scores would change from day to day


class Encoding(Section):
    """How questions and texts become tokens: one block for training and for inference."""

    max_length: PositiveInt  # tokens in a question with its answer, or in a chunk of a text
    max_new_tokens: PositiveInt  # a generated answer is cut there
    system_prompt: str | None


@dataclass(frozen=True, eq=False)
class TopK:
    """The likeliest tokens of a model where targets are predicted, and what is left for all others together.

    ``tokens`` and ``log_probs`` are [targets, k], the likeliest first; ``log_rest`` [targets] is the log of the mass of
    all other tokens, minus infinity when there are none.
    """

    tokens: Tensor
    log_probs: Tensor
    log_rest: Tensor


@dataclass(frozen=True)
class Example:
    """One tokenised row: ``ids`` is the whole sequence, and its last ``num_targets`` tokens are to be predicted.

    ``ends_turn`` tells whether the last target closes the answer. ``reference_log_prob`` is the summed log-probability
    of the targets under the reference model, ``reference_top_k`` its likeliest tokens where it predicts them (on the
    CPU, tokens as int32), each where an objective asked for it. ``substitutes`` are other answers to the
    same question, for objectives that teach one in place of the answer (:mod:`lethe.substitutes`).
    ``boundary_merge`` tells that some tokens of the prompt are others here than by itself, because one of them
    reaches into the answer; that one is a target.
    """

    row: str
    ids: tuple[int, ...]
    num_targets: int
    ends_turn: bool
    reference_log_prob: float | None = None
    substitutes: tuple[Example, ...] = ()
    reference_top_k: TopK | None = None
    boundary_merge: bool = False


class Pair(NamedTuple):
    """A question with an answer, the id of their row, and how the answer begins (``Row.answer_opening``)."""

    row: str
    question: str
    answer: str
    opening: str | None = None


class _Prompt(NamedTuple):
    text: str
    ids: list[int]  # tokenised by itself


@dataclass(frozen=True)
class Batch:
    """Examples as one right-padded block.

    ``input_ids`` and ``attention_mask`` are [batch, time]; ``predicts`` [batch, time] marks the positions whose *next*
    token is a target; ``targets`` [targets] holds those tokens in row-major order and ``owner`` [targets] the row
    of the batch that each belongs to. ``reference_log_probs`` [batch] and ``reference_top_k`` (in the order of
    ``targets``) are there when every example brings one.
    ``substitute`` holds the substitutes drawn for this step, the same number for each row, row after row.
    """

    input_ids: Tensor
    attention_mask: Tensor
    predicts: Tensor
    targets: Tensor
    owner: Tensor
    reference_log_probs: Tensor | None
    substitute: Batch | None = None
    reference_top_k: TopK | None = None

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], *, max_length: int, system_prompt: str | None
) -> list[Example]:
    """Questions in the model's own chat format, each with its answer as the target, the end-of-turn token included.

    Prompt and answer are tokenised as one text: what a tokenizer puts before every text (``▁`` in Llama-2's) stands
    before no answer. A token that reaches from the prompt into the answer is a target, and how many answers have one is
    logged. Elsewhere the ids begin with :func:`prompt_ids`.
    Raises DataError when a pair is longer than ``max_length`` tokens.
    """
    asked = list(dict.fromkeys((pair.question, pair.opening) for pair in pairs))
    prompts = [_prompt(tokenizer, *key, system_prompt) for key in asked]
    known = dict(zip(asked, map(_Prompt, prompts, _token_lists(tokenizer, prompts)), strict=True))
    before = [known[pair.question, pair.opening] for pair in pairs]
    answers = [answer_text(tokenizer, pair.answer, opening=pair.opening) for pair in pairs]
    texts = [prompt.text + answer for prompt, answer in zip(before, answers, strict=True)]
    examples = [
        _joined(tokenizer, pair.row, prompt, text, ids, max_length=max_length)
        for pair, prompt, text, ids in zip(pairs, before, texts, _token_lists(tokenizer, texts), strict=True)
    ]
    if merges := sum(example.boundary_merge for example in examples):
        logger.warning(
            "%d of %d answers share a token with the end of their prompt; it is scored with the answer",
            merges,
            len(examples),
        )
    return examples


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, *, row: str, max_length: int) -> list[Example]:
    """A text in chunks of at most ``max_length`` tokens; the first token of a chunk has no predictor and is no target.

    Raises DataError for a text of one token, in which there is nothing to predict.
    """
    ids = _tokens(tokenizer, text)
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    width = max_length - len(start)
    chunks = [[*start, *ids[offset : offset + width]] for offset in range(0, len(ids), width)]
    examples = [Example(row, tuple(chunk), len(chunk) - 1, ends_turn=False) for chunk in chunks if len(chunk) > 1]
    if not examples:
        raise DataError(
            f"Row {row!r} is a text of {len(ids)} tokens, too short to predict anything; join it with others."
        )
    return examples


def encode_rows(tokenizer: PreTrainedTokenizerBase, rows: Iterable[Row], encoding: Encoding) -> list[Example]:
    """Every row as training examples: one for a question, one or more for a text."""
    rows = list(rows)
    pairs = [Pair(row.id, row.question, row.answer, row.answer_opening) for row in rows if not row.text]
    encoded = iter(encode_pairs(tokenizer, pairs, max_length=encoding.max_length, system_prompt=encoding.system_prompt))
    examples: list[Example] = []
    for row in rows:
        if row.text:
            examples += encode_text(tokenizer, row.text, row=row.id, max_length=encoding.max_length)
        else:
            examples.append(next(encoded))
    return examples


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, question: str, *, system_prompt: str | None, opening: str | None = None
) -> list[int]:
    """The question in the model's chat format, up to the place where the answer begins.

    ``opening`` is ``Row.answer_opening``: with it, the question stands as it is where there is no chat template, and
    the opening behind it, or behind the template.
    """
    return _start(tokenizer) + _tokens(tokenizer, _prompt(tokenizer, question, opening, system_prompt))


def answer_text(tokenizer: PreTrainedTokenizerBase, answer: str, *, opening: str | None = None) -> str:
    """The answer as it follows the prompt: behind a space unless it begins its turn or the opening ends in one."""
    begins_turn = tokenizer.chat_template is not None and not opening
    return answer if begins_turn or (opening and opening[-1].isspace()) else f" {answer}"


def collate(examples: Sequence[Example], *, pad: int, device: torch.device | str = "cpu") -> Batch:
    """Pad examples on the right into one batch. Masks come from lengths, never from the pad token."""
    width = max(len(example.ids) for example in examples)
    input_ids = torch.full((len(examples), width), pad, dtype=torch.long)
    attention_mask = torch.zeros((len(examples), width), dtype=torch.long)
    predicts = torch.zeros((len(examples), width), dtype=torch.bool)
    for index, example in enumerate(examples):
        length = len(example.ids)
        input_ids[index, :length] = torch.tensor(example.ids)
        attention_mask[index, :length] = 1
        predicts[index, length - example.num_targets - 1 : length - 1] = True
    rows, columns = predicts.nonzero(as_tuple=True)
    tensors: dict[str, Any] = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "predicts": predicts,
        "targets": input_ids[rows, columns + 1],
        "owner": rows,
    }
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    return Batch(**moved, reference_log_probs=_references(examples, device), reference_top_k=_top_k(examples, device))


def by_token_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of at most ``budget`` padded tokens, longest first: memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    for index in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _prompt(tokenizer: PreTrainedTokenizerBase, question: str, opening: str | None, system_prompt: str | None) -> str:
    if tokenizer.chat_template is None:
        return f"Question: {question}\nAnswer:" if opening is None else question + opening
    messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
    messages.append({"role": "user", "content": question})
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, date_string=TEMPLATE_DATE
    )
    return str(text) + (opening or "")


def _start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    # A chat template writes the first token itself.
    if tokenizer.chat_template is not None or tokenizer.bos_token_id is None:
        return []
    return [tokenizer.bos_token_id]


def _joined(
    tokenizer: PreTrainedTokenizerBase, row: str, prompt: _Prompt, text: str, ids: list[int], *, max_length: int
) -> Example:
    """``text``, which is the prompt and an answer and has the tokens ``ids``, as an example."""
    whole = (*_start(tokenizer), *ids, tokenizer.eos_token_id)
    if len(whole) > max_length:
        raise DataError(
            f"Row {row!r} has {len(whole)} tokens, more than encoding.max_length ({max_length}); "
            "shorten the row or raise the limit."
        )
    merged = ids[: len(prompt.ids)] != prompt.ids
    end = _first_beyond(tokenizer, row, text, len(prompt.text)) if merged else len(prompt.ids)
    num_targets = min(len(ids) - end + 1, len(whole) - 1)  # the first token of all has no predictor
    return Example(row, whole, num_targets, ends_turn=True, boundary_merge=merged)


def _first_beyond(tokenizer: PreTrainedTokenizerBase, row: str, text: str, boundary: int) -> int:
    """The place of the first token of ``text`` that reaches beyond the character ``boundary``."""
    if not tokenizer.is_fast:
        raise DataError(
            f"Row {row!r}: a token reaches from the prompt into the answer, but {type(tokenizer).__name__} does not "
            "say where; save the checkpoint with a fast tokenizer (tokenizer.json)."
        )
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return next((place for place, (_, end) in enumerate(offsets) if end > boundary), len(offsets))


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _token_lists(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    if not texts:  # transformers takes an empty list for a text in words
        return []
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return found


def _references(examples: Sequence[Example], device: torch.device | str) -> Tensor | None:
    values = [example.reference_log_prob for example in examples]
    if any(value is None for value in values):
        return None
    return torch.tensor(values, dtype=torch.float32, device=device)


def _top_k(examples: Sequence[Example], device: torch.device | str) -> TopK | None:
    found = [example.reference_top_k for example in examples if example.reference_top_k is not None]
    if len(found) < len(examples):
        return None
    return TopK(
        torch.cat([one.tokens for one in found]).long().to(device),
        torch.cat([one.log_probs for one in found]).to(device),
        torch.cat([one.log_rest for one in found]).to(device),
    )
