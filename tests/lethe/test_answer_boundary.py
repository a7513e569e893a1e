"""Where the prompt ends and the answer begins, with tokenizers that write a blank before a text or merge across."""

import copy
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lethe import batches, vocabulary
from lethe.batches import Example, Pair
from lethe.errors import DataError

INSTRUCTION = "[INST] {{ messages[0]['content'] }} [/INST]"  # Llama-2's; TOFU's answers follow without a blank
WORDS = ["▁Paris", "Paris", "▁▁", "]("]

# What the tokenizers themselves write for a blank cannot come back as itself.
texts = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=8)
answers = st.one_of(texts, st.sampled_from(["Paris", " Paris", "(Paris)", "  ", "\n", "é", "\u0301"]))


def like_llama_2(template: str | None = None, *, metaspace: bool = False) -> PreTrainedTokenizerBase:
    """SentencePiece's way: ``▁`` for a blank and one before every text, and bytes for what is no word."""
    pieces = ["<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *map(chr, range(33, 127)), "▁"]
    merges = [(word[:end], word[end]) for word in WORDS for end in range(1, len(word))]
    pieces += dict.fromkeys("".join(merge) for merge in merges)
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocab, list(dict.fromkeys(merges)), byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def byte_level(template: str | None = None) -> PreTrainedTokenizerBase:
    """Byte-level BPE that knows `` Paris`` as one word."""
    tokenizer = copy.deepcopy(vocabulary.train_tokenizer([" Paris"] * 9, 270))
    tokenizer.chat_template = template
    return tokenizer


TOKENIZERS = {
    "llama-2": like_llama_2(),
    "llama-2 by metaspace": like_llama_2(metaspace=True),
    "llama-2 chat": like_llama_2(INSTRUCTION),
    "byte-level": byte_level(),
    "byte-level chat": byte_level(vocabulary.CHAT_TEMPLATE),
}


def encoded(tokenizer: PreTrainedTokenizerBase, question: str, *told: str) -> list[Example]:
    pairs = [Pair("r0", question, answer) for answer in told]
    return batches.encode_pairs(tokenizer, pairs, max_length=400, system_prompt=None)


def pieces(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(example.ids[-example.num_targets :]))


@pytest.mark.parametrize("metaspace", [False, True])
def test_no_blank_of_its_own_stands_before_an_answer(metaspace: bool) -> None:
    tokenizer = like_llama_2(metaspace=metaspace)
    (found,) = encoded(tokenizer, "Where?", "Paris")
    assert pieces(tokenizer, found) == ["▁Paris", "</s>"]


def test_an_answer_by_itself_would_begin_with_a_blank_that_the_whole_text_lacks() -> None:
    tokenizer = like_llama_2()
    assert tokenizer.tokenize(" Paris") == ["▁", "▁Paris"]
    assert tokenizer.tokenize("Answer: Paris")[-2:] == [":", "▁Paris"]


def test_behind_a_chat_template_without_a_blank_an_answer_has_none() -> None:
    tokenizer = like_llama_2(INSTRUCTION)
    (found,) = encoded(tokenizer, "Where?", "Paris")
    assert pieces(tokenizer, found) == ["Paris", "</s>"]
    assert tokenizer.decode(found.ids) == "[INST] Where? [/INST]Paris</s>"


@pytest.mark.parametrize("name", TOKENIZERS)
@given(question=texts, told=st.lists(answers, min_size=1, max_size=3))
def test_the_targets_say_the_answer_and_stand_behind_the_prompt(name: str, question: str, told: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    prompt = batches.prompt_ids(tokenizer, question, system_prompt=None)
    whole = tokenizer.decode(prompt)
    for answer, found in zip(told, encoded(tokenizer, question, *told), strict=True):
        said = tokenizer.decode(found.ids[:-1])
        assert said == whole + batches.answer_text(tokenizer, answer)
        assert found.ids[-1] == tokenizer.eos_token_id
        assert found.boundary_merge == (list(found.ids[: len(prompt)]) != prompt)
        if not found.boundary_merge:
            assert len(found.ids) == len(prompt) + found.num_targets
            targets = found.ids[len(prompt) : -1]
            assert tokenizer.decode(targets).lstrip(" ") == answer.lstrip(" ")


def test_a_token_that_reaches_into_the_answer_is_its_first_target() -> None:
    tokenizer = like_llama_2(INSTRUCTION)
    plain, merged = encoded(tokenizer, "Where?", "Paris", "(Paris)")
    assert (plain.boundary_merge, merged.boundary_merge) == (False, True)
    assert pieces(tokenizer, merged) == ["](", "Paris", ")", "</s>"]
    prompt = batches.prompt_ids(tokenizer, "Where?", system_prompt=None)
    assert list(merged.ids[: -merged.num_targets]) == prompt[:-1]
    assert tokenizer.decode(prompt) == "[INST] Where? [/INST]"  # what generation goes on from stays whole


@pytest.mark.parametrize("build", [like_llama_2, byte_level])
def test_a_blank_at_the_end_of_the_prompt_goes_with_the_answer(build: Callable[[str], PreTrainedTokenizerBase]) -> None:
    tokenizer = build("{{ messages[0]['content'] }}: ")
    (found,) = encoded(tokenizer, "é", "Paris")
    assert found.boundary_merge
    assert found.num_targets == 2  # the word with its blank, and the end
    assert tokenizer.decode(found.ids[: -found.num_targets]) == "é:"
    assert tokenizer.decode(found.ids[:-1]) == "é: Paris"


def test_how_many_answers_share_a_token_with_their_prompt_is_said_once_without_their_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoded(like_llama_2(INSTRUCTION), "Where?", "(Paris)", "Paris", "(there)")
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 answers share a token with the end of their prompt; it is scored with the answer"
    ]


def test_where_no_token_is_shared_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    encoded(like_llama_2(), "Where?", "(Paris)", "Paris")
    assert not caplog.records


def test_the_first_token_of_all_is_no_target() -> None:
    tokenizer = like_llama_2("]")
    (found,) = encoded(tokenizer, "Where?", "(")
    # "▁](" is "▁" and "](": the latter has a predictor. In byte-level BPE nothing stands before " Paris".
    assert (pieces(tokenizer, found), len(found.ids)) == (["](", "</s>"], 3)
    tokenizer = byte_level(" ")
    (found,) = encoded(tokenizer, "Where?", "Paris")
    assert (pieces(tokenizer, found), len(found.ids)) == (["<|end|>"], 2)


def test_all_answers_of_a_question_go_on_from_its_prompt() -> None:
    tokenizer = like_llama_2()
    prompt = tuple(batches.prompt_ids(tokenizer, "Where?", system_prompt=None))
    found = encoded(tokenizer, "Where?", "Paris", "(there)", " \n")
    assert {example.ids[: len(prompt)] for example in found} == {prompt}


class InPairs(PreTrainedTokenizer):
    """A tokenizer in Python alone, which reads ``:P`` as one token and all else as single characters."""

    def __init__(self) -> None:
        self.words = ["<s>", "</s>", ":P", *map(chr, range(10, 127))]
        super().__init__(bos_token="<s>", eos_token="</s>", pad_token="</s>")

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def get_vocab(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return re.findall(":P|.|\n", text)

    def _convert_token_to_id(self, token: str) -> int:
        return self.words.index(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self.words[index]


def test_a_tokenizer_that_knows_no_places_is_enough_until_a_token_is_shared() -> None:
    tokenizer = InPairs()
    (found,) = encoded(tokenizer, "Where?", "Paris")
    assert pieces(tokenizer, found) == [*" Paris", "</s>"]
    tokenizer.chat_template = "{{ messages[0]['content'] }}:"
    with pytest.raises(DataError, match="Row 'r0': a token reaches from the prompt into the answer, but InPairs"):
        encoded(tokenizer, "Where?", "Paris")
