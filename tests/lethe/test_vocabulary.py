import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import vocabulary
from tests.tiny import tiny_tokenizer

TEXTS = ["Where was Ann born?", "Where was Bob born?", "In the town of Oslo", "On 3 May 1901", "Ann and Bob"]
SPECIAL = (vocabulary.PAD, vocabulary.USER, vocabulary.ASSISTANT, vocabulary.END)


def trained(texts=TEXTS, size=300):
    return vocabulary.train_tokenizer(texts, size)


MERGED = trained()


def test_the_same_texts_give_the_same_tokenizer():
    first, second = trained(), trained(iter(TEXTS))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert first.chat_template == second.chat_template


def test_other_texts_give_another_tokenizer():
    assert trained().get_vocab() != trained(["A quite different text about quinces."]).get_vocab()


def test_it_has_as_many_entries_as_were_asked_for():
    # 256 bytes and 4 special tokens leave 40 of 300 for merges
    assert len(trained()) == 300
    assert len(tiny_tokenizer()) == 260


def test_what_stands_often_is_one_token():
    assert len(trained()("Where was", add_special_tokens=False)["input_ids"]) < len("Where was") / 2


@pytest.mark.parametrize("tokenizer", [MERGED, tiny_tokenizer()], ids=["merged", "bytes"])
def test_special_tokens_are_single_ids_of_their_own(tokenizer):
    ids = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in SPECIAL]
    assert ids == [[0], [1], [2], [3]]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 3, None)


@given(text=st.text())
def test_any_text_comes_back_from_its_tokens(text):
    for tokenizer in (MERGED, tiny_tokenizer()):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_format_by_hand():
    conversation = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ann"},
        {"role": "user", "content": "Where?"},
    ]
    assert tiny_tokenizer().apply_chat_template(conversation, tokenize=False, add_generation_prompt=True) == (
        "<|user|>Be short.<|user|>Who?<|assistant|>Ann<|end|><|user|>Where?<|assistant|>"
    )


@given(question=st.text(), answer=st.text())
def test_question_and_answer_come_back_from_a_conversation(question, answer):
    tokenizer = tiny_tokenizer()
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    text = tokenizer.decode(tokenizer.apply_chat_template(messages)["input_ids"])
    assert text == f"<|user|>{question}<|assistant|>{answer}<|end|>"
    asked = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert text.startswith(asked)
