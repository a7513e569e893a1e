import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import anchors, batches
from lethe.batches import Pair
from lethe.errors import ConfigError, DataError
from lethe.rows import Row
from tests.lethe.test_answer_boundary import TOKENIZERS
from tests.tiny import tiny_tokenizer

TERMS = {"Harry": "Jon", "Hogwarts": "Mystic Academy"}


def translated(question, answer, terms, tokenizer=None):
    tokenizer = tokenizer or tiny_tokenizer()
    pair = Pair("row", question, answer)
    (example,) = batches.encode_pairs(tokenizer, [pair], max_length=400, system_prompt=None)
    return example, anchors.translations(tokenizer, [example], terms)[example]


def said(ids, tokenizer=None):
    return (tokenizer or tiny_tokenizer()).decode(ids)


def learnt(example, found):
    """What stands before each token that is learnt, in the text and in its translation."""
    return [
        (said(example.ids[: place + 1]), said(found.ids[: position + 1]))
        for place, position in enumerate(found.positions)
        if position is not None
    ]


def test_worked_example():
    example, found = translated("Who?", "Harry met Harry", TERMS)
    assert said(found.ids) == "<|user|>Who?<|assistant|>Jon met Jon<|end|>"
    before = "<|user|>Who?<|assistant|>"
    places = learnt(example, found)
    assert (before, before) in places  # what comes first is learnt: Jon
    assert (f"{before}Harry", f"{before}Jon") in places  # and what comes behind the name
    assert (f"{before}Har", f"{before}Jo") not in places
    assert all(text != f"{before}Harry met" for text, _ in places)  # Harry once more is no knowledge
    assert (f"{before}Harry met Harry", f"{before}Jon met Jon") in places
    assert len(places) == len(found.ids) - 2 - 4  # but twice within Jon, the second with its blank, and before that


def test_behind_a_blank_that_is_a_token_a_name_is_learnt_where_it_comes_first():
    example, found = translated("Who?", "He met Harry, Harry", TERMS)
    places, before = learnt(example, found), "<|user|>Who?<|assistant|>He met"
    assert (f"{before} ", f"{before} ") in places  # what begins here is Jon
    assert (f"{before} H", f"{before} J") not in places
    assert (f"{before} Harry, ", f"{before} Jon, ") not in places  # once more is no knowledge


def test_a_generic_name_is_avoided_once_it_has_begun():
    _, found = translated("Who?", "Harry met Ginny", {"Harry": "Jon"})
    jon = said(found.ids).index("Jon") - len("<|user|>") - len("<|assistant|>") + 2
    (capital,) = tiny_tokenizer()("J")["input_ids"]
    assert found.avoided == ((jon + 1, capital),)


def test_terms_are_whole_words_and_the_longest_comes_first():
    _, found = translated("Who?", "Ron, Ronald and Ron's Aaron", {"Ron": "Tom", "Ron's Aaron": "Eve"})
    assert said(found.ids).endswith("Tom, Ronald and Eve<|end|>")


def test_terms_of_which_none_stands_in_any_row_are_refused_without_being_told():
    rows = dict([translated("Who?", "Harry met Ginny", TERMS), translated("Where?", "in Hogsmeade", TERMS)])
    anchors.require_use(TERMS, rows)
    absent = dict(found for found in rows.items() if not found[1].avoided)
    assert len(absent) == 1
    with pytest.raises(
        ConfigError, match=rf"^edit\.anchors: of {len(TERMS)} terms none stands in a forget row"
    ) as told:
        anchors.require_use(TERMS, absent)
    assert not any(term in str(told.value) for term in TERMS)
    anchors.require_use({}, absent)
    anchors.require_use(TERMS, {})


def test_a_term_of_terms_is_left_out():
    _, found = translated("Who?", "Harry Potter", {"Harry": "Jon", "Potter": "Stone", "Harry Potter": "Max Moor"})
    assert said(found.ids).endswith("Jon Stone<|end|>")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_writes_the_translation_as_it_writes_the_text(name):
    tokenizer = TOKENIZERS[name]
    _, found = translated("Where did Harry learn?", "Harry learnt at Hogwarts.", TERMS, tokenizer)
    (expected,) = batches.encode_pairs(
        tokenizer,
        [Pair("row", "Where did Jon learn?", "Jon learnt at Mystic Academy.")],
        max_length=400,
        system_prompt=None,
    )
    assert said(found.ids, tokenizer) == said(expected.ids, tokenizer)
    assert found.ids == expected.ids


words = st.sampled_from(["Harry", "Hogwarts", "saw", "the", "owl"])


@given(st.lists(words, min_size=1, max_size=8), st.lists(words, min_size=1, max_size=8))
def test_every_token_that_is_no_part_of_a_term_keeps_its_place_in_order(question, answer):
    example, found = translated(" ".join(question), " ".join(answer), TERMS)
    places = [place for place in found.positions if place is not None]
    assert len(found.positions) == len(example.ids)
    assert places == sorted(set(places))
    for token, place in zip(example.ids, found.positions, strict=True):
        # The last letter of a term stands for the last of its generic one.
        assert place is None or found.ids[place] == token or said([found.ids[place]]) in "ny"
    assert said(found.ids) == said(example.ids).replace("Harry", "Jon").replace("Hogwarts", "Mystic Academy")


@given(st.text(alphabet="abc XYZ", min_size=1, max_size=12))
def test_a_text_without_terms_is_unchanged(text):
    example, found = translated(text, "x", TERMS)
    assert found == anchors.unchanged(example)


def people(split, *names):
    return [
        Row(id=f"{split}-{n}-{m}", cluster=f"{split}-{n}", question=question.format(name), answer=answer)
        for n, name in enumerate(names)
        for m, (question, answer) in enumerate([("Where was {} born?", "In Rome"), ("What does {} like?", "Red Wine")])
    ]


def test_the_names_of_forget_rows_alone_are_terms_and_generic_ones_are_put_together():
    kept = people("retain", "Ann Arbor", "Bob Berg", "Cid Corn")
    terms = anchors.of_rows(people("forget", "Max Moor", "Eve Arbor"), kept, seed=0)
    assert sorted(terms) == ["Eve", "Max Moor"]  # Arbor, Rome and Wine stand in kept rows too
    first, last = terms["Max Moor"].split()
    assert first in {"Ann", "Bob", "Cid"}
    assert last in {"Arbor", "Berg", "Corn"}
    assert terms["Eve"] in {"Ann", "Bob", "Cid", "Arbor", "Berg", "Corn"}
    assert terms == anchors.of_rows(people("forget", "Max Moor", "Eve Arbor"), kept, seed=0)
    assert len({str(anchors.of_rows(people("forget", "Max Moor"), kept, seed=seed)) for seed in range(20)}) > 1


def test_without_a_name_to_put_in_its_place_a_name_cannot_be_replaced():
    kept = [Row(id=f"r{n}", cluster=f"r{n}", question="Where was he?", answer="In Rome") for n in range(2)]
    with pytest.raises(DataError, match="hold no name to put in the place of another; name a file"):
        anchors.of_rows(people("forget", "Max Moor"), kept, seed=0)


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "terms.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return anchors.File(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    return write


def test_a_file_of_terms(file):
    assert anchors.read(file(TERMS)) == TERMS


@pytest.mark.parametrize("content", ["{", "[]", "{}", {"Harry": 1}, {"Harry": " "}, {"": "Jon"}], ids=str)
def test_a_file_that_holds_no_terms_is_refused(file, content):
    with pytest.raises(ConfigError, match=r"terms\.json: not a JSON object of terms"):
        anchors.read(file(content))


def test_another_file_than_the_parameters_say_is_refused(file):
    given = file(TERMS)
    file({"Ron": "Tom"})
    with pytest.raises(ConfigError, match=r"its sha256 is [0-9a-f]{64}, not"):
        anchors.read(given)
    with pytest.raises(ConfigError, match="cannot be read"):
        anchors.read(given.model_copy(update={"path": "nowhere.json"}))
