"""Ask a model every question under an attack family, and keep all that it said as records."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lethe import batches, generation, questionnaire, teacher_forcing
from lethe.batches import Encoding
from lethe.config import Section
from lethe.errors import NotFiniteError
from lethe.questionnaire import Prompt, Target
from lethe.records import Generation, Likelihood, Records
from lethe.rows import Row
from lethe.teacher_forcing import Forest

logger = logging.getLogger(__name__)

UNATTACKED = "none"  # the condition in which the model is as it was released
_SECONDS_BETWEEN_PROGRESS_LINES = 10.0

Item = TypeVar("Item")


class Config(Section):
    """How models are asked."""

    compute_dtype: Literal["float32", "bfloat16"]
    batch_tokens: int  # padded tokens of one forward pass; a matter of speed and memory, not of results
    generate_paraphrased: bool  # generate an answer to the paraphrased question, too
    generate_under_attack: bool  # generate under every condition, not in the unattacked one alone


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    conditions: Iterable[str],
    encoding: Encoding,
    config: Config,
) -> Records:
    """All that ``model`` says to all rows under each condition, in order; a row's ``subset`` is its split.

    ``conditions`` is an attack family at work: each step of the iteration puts the model into the state it
    names. Raises DataError for a row that is too long and NotFiniteError when a log-probability is NaN or
    infinite.
    """
    targets = questionnaire.targets(tokenizer, rows, encoding)
    prompts = questionnaire.prompts(tokenizer, rows, encoding, paraphrased=config.generate_paraphrased)
    trees = _reads_trees(model, targets, pad=tokenizer.pad_token_id)
    forests = _forests(targets, config.batch_tokens, trees=trees, pad=tokenizer.pad_token_id)
    answers = Records([], [])
    for condition in conditions:
        answers.likelihoods.extend(_likelihoods(model, targets, forests, condition))
        if condition == UNATTACKED or config.generate_under_attack:
            length = encoding.max_new_tokens
            answers.generations.extend(
                _generations(model, tokenizer, prompts, config, condition, max_new_tokens=length, cache=trees)
            )
    return answers


def _reads_trees(model: PreTrainedModel, targets: Sequence[Target], *, pad: int) -> bool:
    examples = [target.example for target in targets]
    reads = teacher_forcing.reads_trees(model, examples, teacher_forcing.share_prompts(examples), pad=pad)
    if not reads:
        logger.warning("%s cannot share a prompt among answers; asking them one by one, slower", type(model).__name__)
    return reads


def _forests(targets: Sequence[Target], batch_tokens: int, *, trees: bool, pad: int) -> list[Forest]:
    examples = [target.example for target in targets]
    groups = teacher_forcing.share_prompts(examples) if trees else [[index] for index in range(len(examples))]
    lengths = [teacher_forcing.tree_length([examples[index] for index in group]) for group in groups]
    return [
        teacher_forcing.plant(examples, [groups[place] for place in batch], pad=pad)
        for batch in batches.by_token_budget(lengths, batch_tokens)
    ]


def _likelihoods(
    model: PreTrainedModel, targets: Sequence[Target], forests: Sequence[Forest], condition: str
) -> list[Likelihood]:
    scored: dict[int, Likelihood] = {}
    for forest in _with_progress(forests, f"{condition}: scoring"):
        for index, statistics in teacher_forcing.score(model, forest):
            scored[index] = _likelihood(targets[index], statistics, condition)
    return [scored[index] for index in range(len(targets))]


def _likelihood(target: Target, statistics: teacher_forcing.TokenStatistics, condition: str) -> Likelihood:
    row = target.row
    if not statistics.is_finite():
        raise NotFiniteError(
            f"Condition {condition!r}, split {row.subset!r}, row {row.id!r}: log-probabilities are NaN or "
            "infinite: the model is broken; lower optimizer.lr of its recipe and unlearn again."
        )
    return Likelihood(
        condition=condition,
        split=str(row.subset),
        id=row.id,
        cluster=row.cluster,
        kind=target.kind,
        index=target.index,
        ends_turn=target.example.ends_turn,
        zlib_bytes=target.zlib_bytes,
        **vars(statistics),
    )


def _generations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    config: Config,
    condition: str,
    *,
    max_new_tokens: int,
    cache: bool,
) -> list[Generation]:
    answer = generation.greedy if cache else generation.greedy_by_library
    stop, pad = generation.stop_tokens(model, tokenizer), tokenizer.pad_token_id
    plan = batches.by_token_budget([len(prompt.ids) + max_new_tokens for prompt in prompts], config.batch_tokens)
    texts: dict[int, str] = {}
    for batch in _with_progress(plan, f"{condition}: generating"):
        ids = [prompts[index].ids for index in batch]
        tokens = answer(model, ids, stop=stop, max_new_tokens=max_new_tokens, pad=pad)
        texts.update(zip(batch, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True))
    return [_generation(prompt, texts[index], condition) for index, prompt in enumerate(prompts)]


def _generation(prompt: Prompt, text: str, condition: str) -> Generation:
    row = prompt.row
    return Generation(condition, str(row.subset), row.id, row.cluster, prompt.field, text.strip(), row.answer)


def _with_progress(batches: Sequence[Item], title: str) -> Iterator[Item]:
    began = last = time.monotonic()
    for done, batch in enumerate(batches):
        yield batch
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_PROGRESS_LINES:
            last, left = now, (now - began) / (done + 1) * (len(batches) - done - 1)
            logger.info("%s: batch %d of %d, about %.0f s left", title, done + 1, len(batches), left)
