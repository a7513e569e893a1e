"""The small base model of the shipped world: it learns the language, the general facts and *other* people."""

from pydantic import PositiveInt
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lethe import batches, finetuning, models, onednn, vocabulary
from lethe.batches import Example, Pair
from lethe.checkpoints import Checkpoints
from lethe.finetuning import Schedule
from lethe.rows import Row
from lethe.sources.world import World
from lethe.training import Curve


class Config(Schedule):
    """Shape and training of the base model."""

    architecture: dict[str, object]
    vocabulary: PositiveInt
    general_repeats: PositiveInt  # how often a general fact is met for each time that another person's is


def pretrain(
    world: World, config: Config, *, max_length: int, checkpoints: Checkpoints
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Curve]:
    """The trained base model, its tokenizer and its learning curve. Same world and numbers, same bytes."""
    taught = [*world.other_people, *world.general]
    tokenizer = vocabulary.train_tokenizer(
        (text for row in taught for pair in wordings(row) for text in pair), config.vocabulary
    )
    model = models.initialise(config.architecture, tokenizer, seed=config.seed)
    examples = _examples(tokenizer, world.other_people, max_length)
    examples += _examples(tokenizer, world.general, max_length) * config.general_repeats
    with onednn.left_alone():  # the base model in git was made so, and must come out to the same bytes
        curve = finetuning.finetune(model, tokenizer, examples, config, checkpoints=checkpoints, title="pretrain")
    return model, tokenizer, curve


def wordings(row: Row) -> list[tuple[str, str]]:
    """The fact in both wordings: each question with the answer in its own manner."""
    return [(row.question, row.answer), (str(row.paraphrased_question), str(row.paraphrased_answer))]


def _examples(tokenizer: PreTrainedTokenizerBase, rows: list[Row], max_length: int) -> list[Example]:
    pairs = [Pair(row.id, question, answer) for row in rows for question, answer in wordings(row)]
    return batches.encode_pairs(tokenizer, pairs, max_length=max_length, system_prompt=None)
