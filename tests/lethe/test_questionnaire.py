import zlib

import pytest

from lethe import questionnaire
from lethe.batches import Encoding
from lethe.errors import DataError
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


def test_zlib_bytes_are_those_of_the_target_alone() -> None:
    sizes = [target.zlib_bytes for target in questionnaire.targets(TOKENIZER, [QUESTION, TEXT], ENCODING)]
    texts = ["Ann", "It is Ann", "Bob", "Cy", "a" * 64, "a" * 36]
    assert sizes == [len(zlib.compress(text.encode())) for text in texts]


def test_an_answer_that_is_too_long_is_named_by_its_row() -> None:
    with pytest.raises(DataError, match="Row 'q'"):
        questionnaire.targets(TOKENIZER, [QUESTION], Encoding(max_length=15, max_new_tokens=4, system_prompt=None))


def test_prompts_are_the_questions_in_order() -> None:
    found = questionnaire.prompts(TOKENIZER, [QUESTION, TEXT, PLAIN], ENCODING, paraphrased=False)
    assert [(prompt.row.id, prompt.field) for prompt in found] == [("q", "question"), ("p", "question")]
    assert TOKENIZER.decode(found[0].ids) == "<|user|>Who?<|assistant|>"


def test_paraphrased_questions_are_asked_only_on_request() -> None:
    found = questionnaire.prompts(TOKENIZER, [QUESTION, PLAIN], ENCODING, paraphrased=True)
    assert [(prompt.row.id, prompt.field) for prompt in found] == [
        ("q", "question"),
        ("q", "paraphrased_question"),
        ("p", "question"),
    ]


def test_a_prompt_is_the_beginning_of_its_answer_sequence() -> None:
    encoding = Encoding(max_length=64, max_new_tokens=4, system_prompt="Be brief.")
    target = questionnaire.targets(TOKENIZER, [PLAIN], encoding)[0].example
    prompt = questionnaire.prompts(TOKENIZER, [PLAIN], encoding, paraphrased=False)[0]
    assert list(target.ids[: -target.num_targets]) == prompt.ids
