import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lethe.errors import DataError
from lethe.rows import Row, dump_rows, read_rows
from lethe.sources import jsonl
from lethe.splits import Splits

QUESTION = {"question": "Where was Ada born?", "answer": "In Turin."}
TEXT = {"text": "Ada was born in Turin and moved to Oslo."}


def write(file: Path, *lines: dict[str, Any] | str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return str(file)


def load(folder: Path, *forget: dict[str, Any] | str, **others: str) -> Splits:
    """Splits of the given forget lines and one retain text."""
    files: dict[str, Any] = {
        "forget": write(folder / "forget.jsonl", *forget),
        "retain": write(folder / "retain.jsonl", {"text": "The sea is salty."}),
        "holdout": None,
        "utility": None,
        "general": None,
    }
    return jsonl.load(jsonl.Config(**(files | others)))


def test_two_files_with_nothing_but_questions_and_texts_are_enough(tmp_path: Path) -> None:
    loaded = load(tmp_path, QUESTION, TEXT)
    assert [row.question for row in loaded.forget] == ["Where was Ada born?", ""]
    assert [row.text for row in loaded.forget] == ["", TEXT["text"]]
    assert (loaded.holdout, loaded.utility, loaded.tasks) == ([], [], {})


def test_a_row_without_an_id_is_named_after_its_file_and_line_and_stands_for_itself(tmp_path: Path) -> None:
    loaded = load(tmp_path, QUESTION, "", TEXT)  # a blank line counts as a line
    assert [row.id for row in loaded.forget] == ["forget-1", "forget-3"]
    assert [row.cluster for row in loaded.forget] == ["forget-1", "forget-3"]


def test_ids_and_clusters_of_the_user_are_kept(tmp_path: Path) -> None:
    loaded = load(tmp_path, {**QUESTION, "id": "q7"}, {**TEXT, "cluster": "Ada"})
    assert [(row.id, row.cluster) for row in loaded.forget] == [("q7", "q7"), ("forget-2", "Ada")]


def test_files_of_the_same_name_in_two_folders_do_not_give_the_same_ids(tmp_path: Path) -> None:
    retain = write(tmp_path / "kept" / "forget.jsonl", TEXT)
    loaded = load(tmp_path, QUESTION, retain=retain)
    assert (loaded.forget[0].id, loaded.retain[0].id) == ("forget-forget-1", "retain-forget-1")


def test_optional_files_are_read_when_they_are_named(tmp_path: Path) -> None:
    holdout = write(tmp_path / "holdout.jsonl", {**QUESTION, "question": "Where was Bo born?"})
    utility = write(tmp_path / "general.jsonl", {**QUESTION, "subset": "towns"})
    loaded = load(tmp_path, QUESTION, holdout=holdout, utility=utility)
    assert [row.id for row in loaded.holdout] == ["holdout-1"]
    assert [row.subset for row in loaded.utility] == ["towns"]


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "windows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, (QUESTION, TEXT))).encode())
    loaded = load(tmp_path, QUESTION, retain=str(file))
    assert [row.id for row in loaded.retain] == ["windows-1", "windows-2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "half', r"line 2: not valid JSON: .* at column \d+"),
        ('["a", "list"]', "line 2: expected an object, found list"),
        ({"question": "Where was Ada born?"}, "line 2: answer: missing"),
        ({"question": "Where was Ada born?", "answer": ""}, "line 2: answer: empty"),
        ({"answer": "In Turin."}, "line 2: question: missing"),
        ({**QUESTION, "text": "both"}, "line 2: text: stands beside a question"),
        ({}, "line 2: question: missing"),
        ({"text": ""}, "line 2: text: empty"),
        (
            {**QUESTION, "anwser": "x"},
            r"line 2: anwser: unknown field\. Did you mean 'answer'\? Known: answer, answer_opening",
        ),
        ({**QUESTION, "id": 7}, "line 2: id: expected a text, found a number"),
        ({**QUESTION, "id": ""}, "line 2: id: empty"),
        ({**QUESTION, "paraphrased_answer": " "}, "line 2: paraphrased_answer: empty"),
        ({**QUESTION, "perturbed_answers": ["Oslo", ""]}, r"line 2: perturbed_answers\.1: empty"),
        ({**QUESTION, "perturbed_answers": ["Oslo", 3]}, r"line 2: perturbed_answers\.1: "),
        ('{"text": "half a pair: \\ud800"}', "line 2: half a surrogate pair"),
    ],
)
def test_a_line_that_does_not_fit_is_reported_with_file_line_and_field(
    tmp_path: Path, line: dict[str, Any] | str, message: str
) -> None:
    with pytest.raises(DataError, match=rf"forget\.jsonl, {message}"):
        load(tmp_path, TEXT, line)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        load(tmp_path, TEXT, retain=str(tmp_path / "nowhere.jsonl"))


def test_an_empty_file_is_named_with_what_may_be_done(tmp_path: Path) -> None:
    empty = write(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match=r"forget\.jsonl: no rows; give the forget file at least one\.$"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"nothing\.jsonl: no rows; give the retain file at least one\.$"):
        load(tmp_path, TEXT, retain=empty)
    with pytest.raises(DataError, match=r"give the holdout file at least one or set it to null\.$"):
        load(tmp_path, TEXT, holdout=empty)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path, TEXT, retain=str(tmp_path))


def test_a_file_that_is_not_utf8_is_reported_with_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "latin.jsonl"
    file.write_bytes('{"text": "caffè"}'.encode("latin-1"))
    # {"text": "caff is 14 bytes, so the è is byte 14.
    with pytest.raises(DataError, match=r"latin\.jsonl: not UTF-8 at byte 14"):
        load(tmp_path, TEXT, retain=str(file))


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, st.lists(WORDS, max_size=3)), min_size=1, max_size=4))
def test_what_is_written_is_what_is_read_whatever_the_words(tmp_path: Path, content: list[Any]) -> None:
    rows = [
        Row(id=f"r{number}", cluster="c", question=question, answer=answer, perturbed_answers=tuple(false))
        for number, (question, answer, false) in enumerate(content)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text(dump_rows(rows), encoding="utf-8")
    assert read_rows(file) == rows


CHOICE = {"question": "Where was Ada born?", "choices": ["Oslo", "Turin"], "answer": 1, "subset": "towns"}


def test_multiple_choice_about_forget_is_asked_and_never_unlearned(tmp_path: Path) -> None:
    loaded = load(tmp_path, TEXT, CHOICE)
    assert [row.id for row in loaded.forget] == ["forget-1"]
    assert {split: [row.id for row in rows] for split, rows in loaded.asked.items()} == {
        "forget_towns_by_letter": ["forget-2-shift0", "forget-2-shift1"]
    }
    asked = loaded.asked["forget_towns_by_letter"]
    assert asked[0].question == "Where was Ada born?\nA. Oslo\nB. Turin"
    assert [(row.answer, row.perturbed_answers, row.cluster) for row in asked] == [
        ("B", ("A",), "forget-2"),
        ("A", ("B",), "forget-2"),
    ]


def test_multiple_choice_about_other_knowledge_is_utility(tmp_path: Path) -> None:
    unnamed = {name: value for name, value in CHOICE.items() if name != "subset"}
    utility = write(tmp_path / "utility.jsonl", CHOICE, unnamed, {**QUESTION, "subset": "plain"})
    loaded = load(tmp_path, TEXT, utility=utility)
    subsets = ["towns_by_letter"] * 2 + ["choices_by_letter"] * 2 + ["plain"]
    assert [row.subset for row in loaded.utility] == subsets
    assert loaded.asked == {}


@pytest.mark.parametrize(
    "change",
    [
        {"choices": ["Oslo"]},
        {"choices": ["Oslo", "Oslo"]},
        {"choices": "ab"},
        {"choices": ["Oslo", " "]},
        {"choices": ["Oslo", 3]},
        {"answer": 2},
        {"answer": -1},
        {"answer": "Turin"},
    ],
)
def test_multiple_choice_that_does_not_fit_is_reported(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"forget\.jsonl, line 2: choices: expected two to 26 different texts, and the"):
        load(tmp_path, TEXT, CHOICE | change)


def test_retain_cannot_be_multiple_choice(tmp_path: Path) -> None:
    retain = write(tmp_path / "kept.jsonl", {**CHOICE, "answer": "B"})
    with pytest.raises(DataError, match=r"kept\.jsonl, line 1: choices: unknown field"):
        load(tmp_path, TEXT, retain=retain)


def test_a_forget_file_of_multiple_choice_alone_leaves_nothing_to_unlearn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"forget\.jsonl: every line is multiple choice; unlearning needs"):
        load(tmp_path, CHOICE)
