import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import artifacts, rows
from lethe.errors import DataError
from lethe.rows import Row

QUESTION = {"id": "f0", "cluster": "ann", "question": "Who?", "answer": "Ann"}
TEXT = {"id": "t0", "cluster": "sea", "text": "The sea is salty."}

words = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
optional = st.none() | words
questions = st.builds(
    Row,
    id=words,
    cluster=words,
    question=words,
    answer=words,
    paraphrased_question=optional,
    paraphrased_answer=optional,
    perturbed_answers=st.lists(words).map(tuple),
    subset=optional,
)
texts = st.builds(Row, id=words, cluster=words, text=words, subset=optional)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "rows.jsonl"


def refusal(values):
    with pytest.raises(DataError) as error:
        rows.parse_row(values, "rows.jsonl, line 3")
    assert "\n" not in str(error.value)
    return str(error.value)


@given(written=st.lists(questions | texts))
def test_rows_come_back_as_they_were_written_whatever_signs_they_hold(file, written):
    artifacts.write_text(file, rows.dump_rows(written))
    assert rows.read_rows(file) == written


def test_empty_fields_are_left_out_of_the_file():
    assert json.loads(rows.dump_rows([Row(**QUESTION)])) == QUESTION


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**QUESTION, "questoin": "x"}, "questoin: unknown field; known: id, cluster, question, answer,"),
        ({"cluster": "a", "question": "q", "answer": "a"}, "id: Field required."),
        ({**QUESTION, "id": 7}, "id: Input should be a valid string."),
        ({**QUESTION, "answer": " \n"}, "row: 'answer' is empty."),
        ({**QUESTION, "question": ""}, "row: 'question' is empty."),
        ({**QUESTION, "text": "and a text"}, "row: a row needs either 'question' and 'answer', or 'text'."),
        ({"id": "a", "cluster": "a"}, "row: a row needs either 'question' and 'answer', or 'text'."),
        ({**QUESTION, "perturbed_answers": ["Bob", " "]}, "row: 'perturbed_answers' holds an empty answer."),
        ({**QUESTION, "perturbed_answers": ["Bob", 3]}, "perturbed_answers.1: Input should be a valid string."),
        ({**QUESTION, "perturbed_answers": "Bob"}, "perturbed_answers: Input should be a valid tuple."),
        ({**QUESTION, "cluster": ""}, "row: 'cluster' is empty; give it a value or leave it out."),
        (
            {**QUESTION, "paraphrased_answer": ""},
            "row: 'paraphrased_answer' is empty; give it a value or leave it out.",
        ),
        ({**TEXT, "subset": " "}, "row: 'subset' is empty; give it a value or leave it out."),
    ],
)
def test_a_row_that_does_not_fit_is_one_line_with_file_line_and_field(values, message):
    assert refusal(values).startswith(f"rows.jsonl, line 3: {message}")


def test_blank_lines_count_but_are_passed_over(file):
    file.write_text(f"\n{json.dumps(QUESTION)}\n\n{json.dumps(TEXT)}\n{{}}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 5: id: Field required\."):
        rows.read_rows(file)


def test_a_byte_order_mark_is_no_part_of_the_first_row(file):
    file.write_text(json.dumps(QUESTION), encoding="utf-8-sig")
    assert rows.read_rows(file) == [Row(**QUESTION)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "a",', "line 1: not valid JSON: Expecting property name .* at column 12"),
        (b'\n["id"]', "line 2: expected an object, found list"),
        (b'{"id": "\\ud800"}', r"line 1: half a surrogate pair is no text; mend the \\u escape"),
    ],
)
def test_a_line_that_is_no_row_is_named(file, content, message):
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"rows\.jsonl, {message}\.$"):
        rows.read_rows(file)


def test_a_file_in_another_encoding_is_refused_with_the_place(file):
    file.write_bytes('{"id": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.jsonl: not UTF-8 at byte 8; save the file as UTF-8\.$"):
        rows.read_rows(file)


def test_a_file_that_is_missing_or_a_folder_is_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file; name an existing JSON Lines file\.$"):
        rows.read_rows(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); name a readable JSON Lines file\.$"):
        rows.read_rows(tmp_path)
