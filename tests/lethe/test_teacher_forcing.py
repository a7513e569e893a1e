from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lethe import batches, teacher_forcing
from lethe.batches import Example
from lethe.teacher_forcing import TokenStatistics
from tests.logit_table import LogitTable
from tests.tiny import tiny_model

TOLERANCE = 1e-5  # fp32
VOCABULARY, PAD = 260, 0
MODEL = tiny_model()


def score(
    model: PreTrainedModel, examples: Sequence[Example], groups: Sequence[Sequence[int]], budget: int = 512
) -> list[TokenStatistics]:
    """The statistics of all examples, in order, from batches of at most ``budget`` tokens."""
    lengths = [teacher_forcing.tree_length([examples[index] for index in group]) for group in groups]
    found: dict[int, TokenStatistics] = {}
    for batch in batches.by_token_budget(lengths, budget):
        found.update(
            teacher_forcing.score(model, teacher_forcing.plant(examples, [groups[place] for place in batch], pad=PAD))
        )
    return [found[index] for index in range(len(examples))]


def by_definition(model: PreTrainedModel, example: Example) -> TokenStatistics:
    """One sequence at a time, all logits, in float64: the definitions of the four statistics."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([example.ids]), use_cache=False).logits[0, :-1].double()
    log_probs = logits.log_softmax(-1)[-example.num_targets :]
    targets = torch.tensor(example.ids[-example.num_targets :])
    probs = log_probs.exp()
    means = (probs * log_probs).sum(-1)
    return TokenStatistics(
        log_probs=log_probs.gather(1, targets[:, None]).squeeze(1).numpy(),
        means=means.numpy(),
        variances=(probs * (log_probs - means[:, None]) ** 2).sum(-1).numpy(),
        hits=(log_probs.argmax(-1) == targets).numpy(),
    )


def assert_close(found: Sequence[TokenStatistics], expected: Sequence[TokenStatistics]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        for name, values in vars(mine).items():
            np.testing.assert_allclose(values, getattr(theirs, name), atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)


def random_examples(seed: int, num_rows: int = 5, vocabulary: int = VOCABULARY) -> list[Example]:
    """Questions with one to six answers each, and now and then a text."""
    generator = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [int(token) for token in generator.integers(1, vocabulary, generator.integers(low, high))]

    examples = []
    for row in range(num_rows):
        if generator.random() < 0.2:
            text = tokens(2, 40)
            examples.append(Example(f"text-{row}", tuple(text), len(text) - 1, ends_turn=False))
            continue
        prompt = tokens(1, 30)
        for _ in range(generator.integers(1, 7)):
            answer = tokens(1, 15)
            examples.append(Example(f"row-{row}", (*prompt, *answer), len(answer), ends_turn=True))
    return examples


def one_by_one(examples: Sequence[Example]) -> list[list[int]]:
    return [[index] for index in range(len(examples))]


@given(st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_a_shared_prompt_gives_what_the_definitions_give(seed: int) -> None:
    examples = random_examples(seed)
    found = score(MODEL, examples, teacher_forcing.share_prompts(examples))
    assert_close(found, [by_definition(MODEL, example) for example in examples])


@given(st.integers(0, 2**16), st.integers(1, 400))
@settings(max_examples=15, deadline=None)
def test_the_size_of_a_batch_does_not_show(seed: int, budget: int) -> None:
    examples = random_examples(seed)
    groups = teacher_forcing.share_prompts(examples)
    assert_close(score(MODEL, examples, groups, budget), score(MODEL, examples, groups, 10_000))


@given(st.integers(0, 2**16), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_questions_does_not_show(seed: int, random: Any) -> None:
    examples = random_examples(seed)
    order = list(range(len(examples)))
    random.shuffle(order)
    shuffled = [examples[index] for index in order]
    found = score(MODEL, shuffled, teacher_forcing.share_prompts(shuffled))
    expected = score(MODEL, examples, teacher_forcing.share_prompts(examples))
    assert_close(found, [expected[index] for index in order])


def test_one_by_one_gives_what_shared_prompts_give() -> None:
    examples = random_examples(7, num_rows=12)
    shared = teacher_forcing.share_prompts(examples)
    assert len(shared) < len(examples)
    assert_close(score(MODEL, examples, shared), score(MODEL, examples, one_by_one(examples)))


def test_a_prompt_is_shared_within_a_row_and_never_between_rows_or_texts() -> None:
    examples = [
        Example("a", (1, 2, 3), 1, ends_turn=True),
        Example("a", (1, 2, 4, 5), 2, ends_turn=True),
        Example("a", (1, 9, 3), 1, ends_turn=True),
        Example("b", (1, 2, 3), 1, ends_turn=True),
        Example("c", (1, 2, 3), 2, ends_turn=False),
        Example("c", (1, 2, 4), 2, ends_turn=False),
    ]
    assert teacher_forcing.share_prompts(examples) == [[0, 1], [2], [3], [4], [5]]


def test_a_tree_feeds_the_prompt_once_and_no_last_token() -> None:
    # prompt 1 2 3; answers 4 5 6 and 7 8: fed 1 2 3 | 4 5 | 7
    examples = [Example("a", (1, 2, 3, 4, 5, 6), 3, True), Example("a", (1, 2, 3, 7, 8), 2, True)]
    forest = teacher_forcing.plant(examples, [[0, 1]], pad=PAD)
    assert teacher_forcing.tree_length(examples) == 6
    assert forest.input_ids.tolist() == [[1, 2, 3, 4, 5, 7]]
    assert forest.positions.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert forest.columns.tolist() == [2, 3, 4, 2, 5]
    assert forest.targets.tolist() == [4, 5, 6, 7, 8]


def test_the_statistics_of_five_worked_rows() -> None:
    # Row 1: mean .7 ln .7 + .2 ln .2 + .1 ln .1 = -.8018; variance sum p (ln p + .8018)^2 = .4944. Row 5 is
    # uniform: mean -ln 3 = -1.0986, variance 0, and its argmax is token 0, so that target 2 is a miss.
    rows = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.05, 0.05, 0.9], [1 / 3, 1 / 3, 1 / 3]]
    found = score(logit_table(torch.tensor([[*rows, rows[0]]]).log()), [TEXT], [[0]])[0]
    np.testing.assert_allclose(found.log_probs, [-0.3567, -0.2231, -1.3863, -2.9957, -1.0986], atol=1e-4)
    np.testing.assert_allclose(found.means, [-0.8018, -0.6390, -1.0397, -0.3944, -1.0986], atol=1e-4)
    np.testing.assert_allclose(found.variances, [0.4944, 0.6919, 0.1201, 0.7519, 0], atol=1e-4)
    assert found.hits.tolist() == [True, True, False, False, False]


def test_a_masked_word_does_not_break_mean_and_variance() -> None:
    # p = (1/2, 1/2, 0): mean ln 1/2 = -.6931, variance 0; 0 * -inf counts as 0
    logits = torch.tensor([0.0, 0.0, -torch.inf]).repeat(1, 6, 1)
    found = score(logit_table(logits), [Example("t", (0, 0, 1, 0, 1, 0), 5, ends_turn=False)], [[0]])[0]
    np.testing.assert_allclose(found.means, [-np.log(2)] * 5, rtol=1e-6)
    np.testing.assert_allclose(found.variances, [0] * 5, atol=1e-6)
    assert found.is_finite()


@pytest.mark.parametrize("name", ["log_probs", "means", "variances"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_one_broken_number_is_noticed(name: str, value: float) -> None:
    numbers = {key: np.zeros(3, np.float32) for key in ("log_probs", "means", "variances")}
    assert TokenStatistics(**numbers, hits=np.zeros(3, bool)).is_finite()
    numbers[name][1] = value
    assert not TokenStatistics(**numbers, hits=np.zeros(3, bool)).is_finite()


def test_memory_does_not_grow_with_targets_times_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two rows of logits at a time instead of all targets at once, and nothing changes.
    examples = random_examples(3)
    groups = teacher_forcing.share_prompts(examples)
    expected = score(MODEL, examples, groups)
    monkeypatch.setattr(teacher_forcing, "_LOGITS_AT_ONCE", {"cpu": 2 * VOCABULARY})
    assert_close(score(MODEL, examples, groups), expected)


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
}
ARCHITECTURES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},  # learned positions
    "gpt_neox": {key: SIZES[key] for key in SIZES if key != "head_dim"},  # parallel layers, a head of another name
    "gemma2": {**SIZES, "num_key_value_heads": 2, "sliding_window": 256},  # logits bent after the head
}
CANNOT_SHARE = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},  # position biases of its own
    "mamba": {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2},  # a recurrent state
    "mistral": {**SIZES, "num_key_value_heads": 2, "sliding_window": 8},  # a window narrower than a tree
}


def random_model(model_type: str, settings: dict[str, Any]) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **settings)).eval()
    for parameter in model.parameters():  # initial weights of 0.02 would leave hardly any attention to compare
        parameter.data += torch.randn_like(parameter) * 0.2
    return model


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_prompts_are_shared_by_every_architecture_that_can(model_type: str) -> None:
    model = random_model(model_type, ARCHITECTURES[model_type])
    examples = random_examples(1)
    groups = teacher_forcing.share_prompts(examples)
    assert teacher_forcing.reads_trees(model, examples, groups, pad=PAD)
    assert_close(score(model, examples, groups), [by_definition(model, example) for example in examples])


@pytest.mark.parametrize("model_type", CANNOT_SHARE)
def test_an_architecture_that_cannot_share_prompts_is_noticed_and_still_scored(model_type: str) -> None:
    model = random_model(model_type, CANNOT_SHARE[model_type])
    examples = random_examples(1)
    assert not teacher_forcing.reads_trees(model, examples, teacher_forcing.share_prompts(examples), pad=PAD)
    assert_close(score(model, examples, one_by_one(examples)), [by_definition(model, example) for example in examples])


def test_half_precision_models_share_prompts() -> None:
    examples = random_examples(2)
    model = tiny_model().to(torch.bfloat16)
    assert teacher_forcing.reads_trees(model, examples, teacher_forcing.share_prompts(examples), pad=PAD)


@pytest.mark.parametrize(("model", "expected"), [("gpt2", True), ("mamba", False)])
def test_the_trial_needs_no_prompt_with_two_answers(model: str, expected: bool) -> None:
    question = Example("q", (5, 6, 7, 8, 9), 3, ends_turn=True)
    candidate = random_model(model, {**ARCHITECTURES, **CANNOT_SHARE}[model])
    assert teacher_forcing.reads_trees(candidate, [question], [[0]], pad=PAD) is expected


TEXT = Example("text", (2, 0, 1, 1, 0, 2), 5, ends_turn=False)


def logit_table(logits: torch.Tensor) -> LogitTable:
    table = LogitTable(logits)
    table.device, table.dtype = torch.device("cpu"), torch.float32
    table.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=logits.shape[-1]))
    return table
