import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import artifacts, rows
from lethe.errors import DataError
from lethe.rows import Row

QUESTION = {"id": "f0", "cluster": "ann", "question": "Who?", "answer": "Ann"}
TEXT = {"id": "t0", "cluster": "sea", "text": "The sea is salty."}
SECRET = "what nobody may read in a log"

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
    answer_opening=st.none() | st.text(st.characters(codec="utf-8")),
)
open_questions = st.builds(Row, id=words, cluster=words, question=words, is_open=st.just(True))
texts = st.builds(Row, id=words, cluster=words, text=words, subset=optional)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "rows.jsonl"


def without(field):
    return {name: value for name, value in QUESTION.items() if name != field}


def refusal(values):
    with pytest.raises(DataError) as error:
        rows.parse_row(values, "rows.jsonl, line 3")
    assert "\n" not in str(error.value)
    return str(error.value)


@given(written=st.lists(questions | open_questions | texts))
def test_rows_come_back_as_they_were_written_whatever_signs_they_hold(file, written):
    artifacts.write_text(file, rows.dump_rows(written))
    assert rows.read_rows(file) == written


def test_empty_fields_are_left_out_of_the_file():
    assert json.loads(rows.dump_rows([Row(**QUESTION)])) == QUESTION


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {**QUESTION, "questoin": "x"},
            "questoin: unknown field. Did you mean 'question'? Known: question, paraphrased_question,",
        ),
        ({"id": "a", "cluster": "a", "questoin": "q"}, "questoin: unknown field. Did you mean 'question'?"),
        ({"cluster": "a", "question": "q", "answer": "a"}, "id: missing; give it a value."),
        ({**QUESTION, "id": 7}, "id: expected a text, found a number."),
        ({**QUESTION, "answer": None}, "answer: expected a text, found null."),
        ({**QUESTION, "answer": True}, "answer: expected a text, found true or false."),
        ({**QUESTION, "answer": [SECRET]}, "answer: expected a text, found a list."),
        ({**QUESTION, "answer": {"is": SECRET}}, "answer: expected a text, found an object."),
        ({**QUESTION, "answer": " \n"}, "answer: empty; a row needs 'question' and 'answer', or 'text'."),
        (without("answer"), "answer: missing; a row needs 'question' and 'answer', or 'text'."),
        ({**QUESTION, "question": ""}, "question: empty; a row needs"),
        (without("question"), "question: missing; a row needs"),
        ({"id": "a", "cluster": "a"}, "question: missing; a row needs"),
        ({**TEXT, "text": " "}, "text: empty; a row needs"),
        ({**QUESTION, "text": "and a text"}, "text: stands beside a question; give each a row of its own."),
        (
            {**QUESTION, "perturbed_answers": ["Bob", " "]},
            "perturbed_answers.1: empty; give it a value or leave it out.",
        ),
        ({**QUESTION, "perturbed_answers": ["Bob", 3]}, "perturbed_answers.1: expected a text, found a number."),
        ({**QUESTION, "perturbed_answers": SECRET}, "perturbed_answers: expected a list of texts, found a text."),
        (
            {**QUESTION, "max_new_tokens": SECRET},
            "max_new_tokens: expected a whole number of at least 1, found a text.",
        ),
        ({**QUESTION, "max_new_tokens": 0}, "max_new_tokens: expected a whole number of at least 1, found a number."),
        (
            {**QUESTION, "beginning": SECRET, "continuation": SECRET},
            "beginning: stands with its continuation and their text; give all three or leave it out.",
        ),
        (
            {**TEXT, "beginning": SECRET},
            "beginning: stands with its continuation and their text; give all three or leave it out.",
        ),
        ({**TEXT, "beginning": SECRET, "continuation": " "}, "continuation: empty; give it a value or leave it out."),
        ({**QUESTION, "is_open": True}, "is_open: stands beside an answer or a text; it is for a question"),
        ({**TEXT, "is_open": True}, "is_open: stands beside an answer or a text; it is for a question"),
        ({**without("answer"), "is_open": "perhaps"}, "is_open: expected true or false, found a text."),
        ({"id": "a", "cluster": "a", "is_open": True}, "question: missing; a row needs"),
        ({**QUESTION, "cluster": ""}, "cluster: empty; give it a value or leave it out."),
        ({**QUESTION, "paraphrased_answer": ""}, "paraphrased_answer: empty; give it a value or leave it out."),
        ({**TEXT, "subset": " "}, "subset: empty; give it a value or leave it out."),
    ],
)
def test_a_row_that_does_not_fit_is_one_line_with_file_line_and_field(values, message):
    assert refusal(values).startswith(f"rows.jsonl, line 3: {message}")
    assert SECRET not in refusal(values)


def test_blank_lines_count_but_are_passed_over(file):
    file.write_text(f"\n{json.dumps(QUESTION)}\n\n{json.dumps(TEXT)}\n{{}}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 5: id: missing; give it a value\."):
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
