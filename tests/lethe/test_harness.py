import logging
import string
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lethe import harness
from lethe.errors import ConfigError
from tests.small_families import enlarged, made, mistral_with_a_narrow_window
from tests.tiny import tiny_model, tiny_tokenizer

ASKED = [
    ("Who holds the harp?", " Bo"),
    ("Who holds the harp?", " Bo and her brother"),
    ("Who holds the harp?", " Bo"),
    ("Who holds the harp? ", "Bo"),  # lm-eval moves the space
    ("", "A text without a question"),
    ("A question that is far too long for what may be read, so that it loses its beginning " * 2, " and no more"),
]
SETTINGS = {
    "pretrained": tiny_model(),
    "tokenizer": tiny_tokenizer(),
    "batch_size": 2,
    "max_length": 64,
    "softmax_dtype": "float32",
}


def requests(kind: str, asked: list[Any]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=arguments, idx=0) for arguments in asked]


def assert_same(found: list[tuple[float, bool]], expected: list[tuple[float, bool]]) -> None:
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4, rel=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we logged, without the lines of lm-eval."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("lethe")]


def test_log_likelihoods_are_those_of_lm_eval() -> None:
    asked = requests("loglikelihood", ASKED)
    assert_same(harness.Engine(**SETTINGS).loglikelihood(asked), HFLM(**SETTINGS).loglikelihood(asked))


def test_an_answer_that_the_model_would_give_is_known_as_such() -> None:
    tokenizer, engine = tiny_tokenizer(), harness.Engine(**SETTINGS)
    prompt = tokenizer("Bo", return_tensors="pt", add_special_tokens=False)["input_ids"]
    likeliest = int(SETTINGS["pretrained"](input_ids=prompt).logits[0, -1].argmax())
    found = engine._loglikelihood_tokens(
        [(None, prompt[0].tolist(), [likeliest]), (None, prompt[0].tolist(), [likeliest - 1])]
    )
    assert [greedy for _, greedy in found] == [True, False]


def test_the_batch_size_is_heeded() -> None:
    rows: list[int] = []
    asked = requests("loglikelihood", [(question, " yes") for question in ("One?", "Two?", "Three?", "Four?")])
    handle = SETTINGS["pretrained"].base_model.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    with handle:
        for size, largest in ((1, 1), (4, 4)):
            rows.clear()
            harness.Engine(**SETTINGS | {"batch_size": size}).loglikelihood(asked)
            assert max(rows) == largest
            assert sum(rows) >= len(asked)


def test_texts_in_windows_are_as_likely_as_in_lm_eval() -> None:
    asked = requests("loglikelihood_rolling", [("It was a dark and stormy night. " * 5,), ("Short.",)])
    found = harness.Engine(**SETTINGS).loglikelihood_rolling(asked)
    assert found == pytest.approx(HFLM(**SETTINGS).loglikelihood_rolling(asked), rel=1e-5)


def test_no_bar_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    engine = harness.Engine(**SETTINGS)
    capfd.readouterr()
    engine.loglikelihood(requests("loglikelihood", ASKED))
    engine.loglikelihood_rolling(requests("loglikelihood_rolling", [("A text.",)]))
    engine.generate_until(requests("generate_until", [("Who?", {"max_gen_toks": 2, "until": ["."]})]))
    assert "it/s" not in capfd.readouterr().err


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that do not read trees."""
    monkeypatch.setattr(harness.teacher_forcing, "reads_trees", lambda *_, **__: False)


@pytest.mark.usefixtures("one_by_one")
def test_a_model_that_cannot_share_a_question_is_asked_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    asked = requests("loglikelihood", ASKED)
    with caplog.at_level(logging.WARNING, logger="lethe"):
        found = harness.Engine(**SETTINGS).loglikelihood(asked)
    assert "LlamaForCausalLM cannot share a question among its options" in caplog.text
    assert_same(found, HFLM(**SETTINGS).loglikelihood(asked))


def test_a_narrow_window_is_noticed_and_the_answers_are_those_of_lm_eval(caplog: pytest.LogCaptureFixture) -> None:
    settings = SETTINGS | {"pretrained": made(mistral_with_a_narrow_window)}
    asked = requests("loglikelihood", ASKED)
    with caplog.at_level(logging.WARNING, logger="lethe"):
        found = harness.Engine(**settings).loglikelihood(asked)
    assert "MistralForCausalLM cannot share a question among its options" in caplog.text
    assert_same(found, HFLM(**settings).loglikelihood(asked))


def letters_of(engine: type[HFLM]) -> list[list[float]]:
    """The log-likelihoods of all letters after each of sixty questions, by a model in bfloat16."""
    settings = SETTINGS | {"pretrained": enlarged(tiny_model()).to(torch.bfloat16)}
    asked = [(f"Question {number}?\nAnswer:", letter) for number in range(60) for letter in string.ascii_uppercase]
    found = [value for value, _ in engine(**settings).loglikelihood(requests("loglikelihood", asked))]
    return [found[start : start + 26] for start in range(0, len(found), 26)]


def num_ties(questions: list[list[float]]) -> int:
    return sum(len(values) - len(set(values)) for values in questions)


@pytest.mark.parametrize("trees", [True, False])
def test_in_bfloat16_no_letters_tie_where_those_of_lm_eval_do(monkeypatch: pytest.MonkeyPatch, trees: bool) -> None:
    monkeypatch.setattr(harness.teacher_forcing, "reads_trees", lambda *_, **__: trees)
    assert num_ties(letters_of(HFLM)) > 5
    assert num_ties(letters_of(harness.Engine)) == 0


@pytest.mark.usefixtures("one_by_one")
def test_texts_share_nothing_and_so_nobody_misses_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="lethe"):
        harness.Engine(**SETTINGS).loglikelihood_rolling(requests("loglikelihood_rolling", [("One.",), ("Two.",)]))
    assert not said(caplog)


def test_a_text_without_a_word_has_log_likelihood_zero() -> None:
    assert harness.Engine(**SETTINGS).loglikelihood_rolling(requests("loglikelihood_rolling", [("",)])) == [0.0]


def test_one_line_says_how_many_prompts_lose_their_beginning(caplog: pytest.LogCaptureFixture) -> None:
    fits = [("a" * 62, " b"), ("a" * 63, " b")]  # a token a byte: 64 and 65, the last of which is not read
    cut = [("a" * 64, " b"), ("a" * 640, " b"), ("a" * 640, " c")]
    with caplog.at_level(logging.WARNING, logger="lethe"):
        harness.Engine(**SETTINGS).loglikelihood(requests("loglikelihood", fits))
    assert not said(caplog)
    with caplog.at_level(logging.WARNING, logger="lethe"):
        harness.Engine(**SETTINGS).loglikelihood(requests("loglikelihood", [*fits, *cut]))
    assert [message.split(",")[0] for message in said(caplog)] == [
        "3 of 5 prompts are too long and lose their beginning"
    ]
    assert "64 tokens are read" in caplog.text


def test_prompts_of_answers_that_are_cut_are_counted_as_well(caplog: pytest.LogCaptureFixture) -> None:
    settings = {"max_gen_toks": 4, "until": ["."]}
    asked = [("a" * 60, settings), ("a" * 61, settings)]  # of 64 tokens 60 are left
    with caplog.at_level(logging.WARNING, logger="lethe"):
        harness.Engine(**SETTINGS).generate_until(requests("generate_until", asked))
    assert [message.split(" prompts")[0] for message in said(caplog)] == ["1 of 2"]


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        ("Who?", "x" * 65, "an answer of 65 tokens follows a prompt of 4"),
        ("Who?", "", "an answer of 0 tokens follows a prompt of 4"),
        ("  ", "Bo", "follows a prompt of 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(question: str, answer: str, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"capabilities\.tasks: .*{found}.*mend the task"):
        harness.Engine(**SETTINGS).loglikelihood(requests("loglikelihood", [(question, answer)]))


def test_an_answer_that_leaves_no_room_for_its_prompt_is_refused() -> None:
    asked = requests("generate_until", [("Who?", {"max_gen_toks": 64, "until": ["."]})])
    with pytest.raises(ConfigError, match=r"an answer of 64 tokens is asked for where 64 are read; take the task out"):
        harness.Engine(**SETTINGS).generate_until(asked)
