import re

import pytest

from lethe import finetuning, pretraining, vocabulary
from lethe.checkpoints import Checkpoints
from lethe.pretraining import Config
from lethe.rows import Row
from lethe.sources import world
from tests import small_recipes
from tests.interruption import killed_at, weights

WORLD = world.Config(
    seed=0,
    num_forget_people=2,
    num_retain_people=2,
    num_holdout_people=2,
    num_other_people=3,
    num_general_people=1,
    num_towns=6,
    num_false_answers=3,
)
GENERAL_REPEATS = 4


def config(**changes):
    values = {
        "architecture": {
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        "vocabulary": 300,
        "general_repeats": GENERAL_REPEATS,
        "seed": 0,
        "optimizer": small_recipes.SETTINGS["optimizer"]["adamw"],
        "training": small_recipes.training(batch_size=8),
    }
    return Config(**values | changes)


@pytest.fixture(scope="module")
def built():
    return world.build(WORLD)


@pytest.fixture
def pretrain(built, tmp_path):
    def run(place="run", **changes):
        checkpoints = Checkpoints(tmp_path / place, place)
        return pretraining.pretrain(built, config(**changes), max_length=128, checkpoints=checkpoints)

    return run


def test_a_fact_is_taught_in_both_wordings_each_answer_with_its_own_question():
    row = Row(
        id="r0",
        cluster="a",
        question="Where?",
        answer="Oslo",
        paraphrased_question="In which town?",
        paraphrased_answer="The town of Oslo",
        perturbed_answers=("The town of Rome",),
    )
    assert pretraining.wordings(row) == [("Where?", "Oslo"), ("In which town?", "The town of Oslo")]


@pytest.fixture
def taught(pretrain, monkeypatch):
    """The texts that the tokenizer was made of, and the conversations that the model was trained on."""
    seen = {}
    train_tokenizer = vocabulary.train_tokenizer

    def watched_tokenizer(texts, size):
        seen["texts"] = list(texts)
        return train_tokenizer(seen["texts"], size)

    def watched_training(model, tokenizer, examples, settings, **rest):
        seen["conversations"] = [tokenizer.decode(example.ids) for example in examples]
        return []

    monkeypatch.setattr(vocabulary, "train_tokenizer", watched_tokenizer)
    monkeypatch.setattr(finetuning, "finetune", watched_training)
    pretrain()
    return seen


def test_other_people_are_met_once_and_general_facts_as_often_as_was_asked(taught, built):
    def conversations(rows):
        return [f"<|user|>{q}<|assistant|>{a}<|end|>" for row in rows for q, a in pretraining.wordings(row)]

    expected = conversations(built.other_people) + GENERAL_REPEATS * conversations(built.general)
    assert sorted(taught["conversations"]) == sorted(expected)


def test_neither_tokenizer_nor_model_meets_a_person_of_forget_retain_or_holdout(taught, built):
    known = [*built.splits.forget, *built.splits.retain, *built.splits.holdout]
    born = [re.fullmatch("Where was (.*) born[?]", row.question) for row in known]
    names = {match[1] for match in born if match}
    assert len(names) == 6
    everything = "\n".join(taught["texts"] + taught["conversations"])
    assert not any(name in everything for name in names)
    assert not any(row.question in everything or row.paraphrased_question in everything for row in known)


def test_no_false_answer_is_taught_as_true(taught, built):
    false = {
        (row.paraphrased_question, answer)
        for row in [*built.other_people, *built.general]
        for answer in row.perturbed_answers
    }
    assert not {f"<|user|>{q}<|assistant|>{a}<|end|>" for q, a in false} & set(taught["conversations"])


def test_the_base_model_learns_and_has_its_own_vocabulary(pretrain):
    model, tokenizer, curve = pretrain()
    assert model.config.vocab_size == len(tokenizer) == 300
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert len(curve) == config().training.steps


def test_the_same_world_and_numbers_give_the_same_bits_and_another_seed_others(pretrain):
    first, again, other = pretrain("first"), pretrain("again"), pretrain("other", seed=1)
    assert weights(first[0]) == weights(again[0]) != weights(other[0])
    assert first[1].backend_tokenizer.to_str() == again[1].backend_tokenizer.to_str()
    assert first[2] == again[2]


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(pretrain, monkeypatch):
    expected = pretrain("undisturbed")
    killed_at(5, pretrain, monkeypatch)
    found = pretrain()
    assert weights(found[0]) == weights(expected[0])
    assert found[2] == expected[2]
