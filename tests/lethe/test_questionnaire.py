import copy
import zlib

import pytest

from lethe import questionnaire
from lethe.batches import Encoding
from lethe.errors import ConfigError, DataError
from lethe.rows import Row
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ENCODING = Encoding(max_length=64, max_new_tokens=4, system_prompt=None)
QUESTION = Row(
    id="q",
    cluster="author",
    question="Who?",
    answer="Ann",
    paraphrased_question="Which?",
    paraphrased_answer="It is Ann",
    perturbed_answers=("Bob", "Cy"),
    subset="forget",
)
PLAIN = Row(id="p", cluster="author", question="When?", answer="Now", subset="retain")
TEXT = Row(id="t", cluster="book", text="a" * 100, subset="forget")


def test_a_question_gives_its_answer_the_paraphrase_and_every_perturbed_answer() -> None:
    found = questionnaire.targets(TOKENIZER, [QUESTION], ENCODING)
    assert [(target.kind, target.index) for target in found] == [
        ("answer", 0),
        ("paraphrased_answer", 0),
        ("perturbed_answer", 0),
        ("perturbed_answer", 1),
    ]
    # one byte a token, and the end of the turn
    assert [target.example.num_targets for target in found] == [4, 10, 4, 3]
    assert all(target.example.ends_turn for target in found)


def test_what_a_question_lacks_is_not_asked() -> None:
    assert [target.kind for target in questionnaire.targets(TOKENIZER, [PLAIN], ENCODING)] == ["answer"]


def test_a_text_gives_numbered_chunks() -> None:
    # 100 tokens in chunks of 64 and 36; the first token of a chunk is no target
    found = questionnaire.targets(TOKENIZER, [TEXT], ENCODING)
    assert [(target.kind, target.index, target.example.num_targets) for target in found] == [
        ("text", 0, 63),
        ("text", 1, 35),
    ]
    assert not any(target.example.ends_turn for target in found)


@pytest.mark.parametrize(("start", "targets"), [(None, 9), ("<|user|>", 10)])
def test_behind_a_start_token_every_token_of_a_text_is_a_target(start: str | None, targets: int) -> None:
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.bos_token = start
    text = Row(id="t", cluster="book", text="abcdefghij", subset="forget")
    (target,) = questionnaire.targets(tokenizer, [text], ENCODING)
    assert (target.has_start_token, target.example.num_targets) == (start is not None, targets)


def test_zlib_bytes_are_those_of_the_target_alone() -> None:
    sizes = [target.zlib_bytes for target in questionnaire.targets(TOKENIZER, [QUESTION, TEXT], ENCODING)]
    texts = ["Ann", "It is Ann", "Bob", "Cy", "a" * 64, "a" * 36]
    assert sizes == [len(zlib.compress(text.encode())) for text in texts]


def test_an_answer_that_is_too_long_is_named_by_its_row() -> None:
    with pytest.raises(DataError, match="Row 'q'"):
        questionnaire.targets(TOKENIZER, [QUESTION], Encoding(max_length=15, max_new_tokens=4, system_prompt=None))


def test_prompts_are_the_questions_in_order() -> None:
    found = questionnaire.prompts(TOKENIZER, [QUESTION, TEXT, PLAIN], ENCODING, paraphrased=False, prefix_tokens=None)
    assert [(prompt.row.id, prompt.field) for prompt in found] == [("q", "question"), ("p", "question")]
    assert TOKENIZER.decode(found[0].ids) == "<|user|>Who?<|assistant|>"


def test_paraphrased_questions_are_asked_only_on_request() -> None:
    found = questionnaire.prompts(TOKENIZER, [QUESTION, PLAIN], ENCODING, paraphrased=True, prefix_tokens=None)
    assert [(prompt.row.id, prompt.field) for prompt in found] == [
        ("q", "question"),
        ("q", "paraphrased_question"),
        ("p", "question"),
    ]


def test_a_prompt_is_the_beginning_of_its_answer_sequence() -> None:
    encoding = Encoding(max_length=64, max_new_tokens=4, system_prompt="Be brief.")
    target = questionnaire.targets(TOKENIZER, [PLAIN], encoding)[0].example
    prompt = questionnaire.prompts(TOKENIZER, [PLAIN], encoding, paraphrased=False, prefix_tokens=None)[0]
    assert list(target.ids[: -target.num_targets]) == prompt.ids


def test_of_a_text_the_beginning_is_asked_and_what_follows_is_the_reference() -> None:
    text = Row(id="t", cluster="book", text="abcdefghij", subset="forget")
    found = questionnaire.prompts(TOKENIZER, [QUESTION, text], ENCODING, paraphrased=False, prefix_tokens=3)
    assert [(prompt.row.id, prompt.field) for prompt in found] == [("q", "question"), ("t", "text")]
    assert TOKENIZER.decode(found[1].ids) == "abc"
    assert found[1].reference == "defg"  # max_new_tokens is 4, and a byte is a token


@pytest.mark.parametrize(("prefix_tokens", "expected"), [(9, ["j"]), (10, []), (50, [])])
def test_a_text_is_continued_as_far_as_it_goes(prefix_tokens: int, expected: list[str]) -> None:
    text = Row(id="t", cluster="book", text="abcdefghij", subset="forget")
    found = questionnaire.prompts(TOKENIZER, [text], ENCODING, paraphrased=False, prefix_tokens=prefix_tokens)
    assert [prompt.reference for prompt in found] == expected


def test_the_whole_rest_of_a_text_is_kept_beside_what_may_be_generated() -> None:
    text = Row(id="t", cluster="book", text="abcdefghij", subset="forget")
    (prompt,) = questionnaire.prompts(TOKENIZER, [text], ENCODING, paraphrased=False, prefix_tokens=3)
    assert (prompt.reference, prompt.whole_reference) == ("defg", "defghij")


@pytest.mark.parametrize(("start", "reference"), [(None, "xyzt"), ("<|user|>", "xyz")])
def test_a_text_with_a_beginning_of_its_own_is_continued_from_there(start: str | None, reference: str) -> None:
    # MUSE cuts the true continuation to max_new_tokens (4) tokens, the start token among them.
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.bos_token = start
    text = Row(id="t", cluster="book", text="abcdef xyztuv", beginning="abcdef", continuation="xyztuv", subset="forget")
    for prefix_tokens in (None, 3):
        (prompt,) = questionnaire.prompts(tokenizer, [text], ENCODING, paraphrased=False, prefix_tokens=prefix_tokens)
        assert tokenizer.decode(prompt.ids) == (start or "") + "abcdef"
        assert (prompt.reference, prompt.whole_reference) == (reference, "xyztuv")


def test_a_row_may_say_how_many_tokens_are_generated() -> None:
    short = PLAIN.model_copy(update={"max_new_tokens": 2})
    found = questionnaire.prompts(TOKENIZER, [PLAIN, short], ENCODING, paraphrased=False, prefix_tokens=None)
    assert [prompt.max_new_tokens for prompt in found] == [4, 2]


def test_the_reference_of_a_question_is_its_answer() -> None:
    found = questionnaire.prompts(TOKENIZER, [QUESTION], ENCODING, paraphrased=True, prefix_tokens=None)
    assert [prompt.reference for prompt in found] == ["Ann", "Ann"]


HOLDOUT = [
    Row(id=f"h{number}", cluster="other", question=f"Q{number}?", answer=f"A{number}", subset="holdout")
    for number in range(4)
]


def test_answers_behind_a_prefix_are_those_of_forget_and_of_the_holdout_that_is_left() -> None:
    found = questionnaire.after_prefix(TOKENIZER, [QUESTION, PLAIN, TEXT, *HOLDOUT], ENCODING, shots=2)
    assert [(target.row.id, target.kind) for target in found] == [
        ("q", "answer_after_prefix"),
        ("h2", "answer_after_prefix"),
        ("h3", "answer_after_prefix"),
    ]
    prefix = "<|user|>Q0?<|assistant|>A0<|end|><|user|>Q1?<|assistant|>A1<|end|>"
    assert TOKENIZER.decode(found[0].example.ids) == f"{prefix}<|user|>Who?<|assistant|>Ann<|end|>"
    assert TOKENIZER.decode(found[1].example.ids) == f"{prefix}<|user|>Q2?<|assistant|>A2<|end|>"
    assert [target.example.num_targets for target in found] == [4, 3, 3]
    assert found[0].zlib_bytes == questionnaire.targets(TOKENIZER, [QUESTION], ENCODING)[0].zlib_bytes


@pytest.mark.parametrize("shots", [4, 9])
def test_a_prefix_that_leaves_no_holdout_is_refused(shots: int) -> None:
    with pytest.raises(ConfigError, match=rf"recall_shots is {shots}, but only 4 holdout questions are asked; set a"):
        questionnaire.after_prefix(TOKENIZER, [QUESTION, *HOLDOUT], ENCODING, shots=shots)
