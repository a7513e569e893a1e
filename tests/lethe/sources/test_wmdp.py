from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe import splits
from lethe.errors import DataError
from lethe.sources import wmdp
from tests import fake_wmdp
from tests.fake_tofu import read_lines, write_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_wmdp.write(tmp_path / "wmdp")


def load(folder: Path, **changes: Any) -> splits.Splits:
    return wmdp.load(wmdp.Config(**(fake_wmdp.settings(folder) | changes)))


def test_texts_are_unlearned_and_questions_are_asked_in_words_and_by_letters(folder: Path) -> None:
    loaded = load(folder)
    assert [row.text for row in loaded.forget] == ["The grey heron 0 eats fish.", "The grey heron 1 eats fish."]
    assert [row.id for row in loaded.retain] == ["retain-1", "retain-2", "retain-3"]
    assert {split: len(rows) for split, rows in loaded.asked.items()} == {
        "forget": 6,  # three of each domain
        "forget_bio_by_letter": 12,  # under four shifts
        "forget_cyber_by_letter": 12,
    }
    assert set(load(folder, domains=["bio"]).asked) == {"forget", "forget_bio_by_letter"}


def test_in_words_the_other_options_are_the_false_answers(folder: Path) -> None:
    row = load(folder).asked["forget"][1]
    assert (row.question, row.answer) == ("What is bio 1?", "bio 1 green")
    assert row.perturbed_answers == ("bio 1 red", "bio 1 blue", "bio 1 grey")


def test_by_letters_the_right_option_stands_behind_every_letter_once(folder: Path) -> None:
    shifts = load(folder).asked["forget_bio_by_letter"][4:8]  # of question 1
    assert [row.answer for row in shifts] == ["B", "A", "D", "C"]
    for row in shifts:
        assert f"{row.answer}. bio 1 green" in row.question.splitlines()


def test_mmlu_is_utility_with_its_subjects_as_clusters(folder: Path) -> None:
    utility = load(folder).utility
    assert Counter((row.subset, row.cluster) for row in utility) == {
        ("mmlu", "anatomy"): 4,
        ("mmlu", "law"): 4,
        ("mmlu_by_letter", "anatomy"): 16,
        ("mmlu_by_letter", "law"): 16,
    }
    few = load(folder, num_mmlu_questions=4).utility
    assert [row.id for row in few if row.subset == "mmlu"] == [f"mmlu-{place:05d}" for place in (0, 2, 4, 6)]
    assert Counter(row.cluster for row in few if row.subset == "mmlu") == {"anatomy": 2, "law": 2}
    assert load(folder, mmlu=None).utility == []


def test_files_as_on_the_hub_give_the_same_rows(folder: Path) -> None:
    expected = load(folder)
    for name in ("wmdp-bio", "wmdp-cyber", "all"):
        file = folder / name / "test.jsonl"
        pq.write_table(pa.Table.from_pylist(read_lines(file)), file.parent / "test-00000-of-00001.parquet")
        file.unlink()
    assert load(folder) == expected


def test_what_all_models_are_asked_needs_no_text_of_the_forget_corpus(folder: Path) -> None:
    asked = splits.questions(load(folder), 2)
    assert Counter(row.subset for row in asked if row.text) == {"retain": 2}


def test_a_question_with_the_same_option_twice_is_left_out_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "wmdp-bio" / "test.jsonl"
    lines = read_lines(file)
    write_lines(file, [lines[0] | {"choices": ["a", "b", "a ", "c"]}, *lines[1:]])
    with caplog.at_level("INFO", logger="lethe"):
        loaded = load(folder, domains=["bio"])
    assert [row.id for row in loaded.asked["forget"]] == ["wmdp-bio-00001", "wmdp-bio-00002"]
    assert "wmdp-bio: 1 of 3 questions left out: the same option twice." in caplog.messages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, r"line 1: question: expected a text"),
        ({"choices": "red"}, r"line 1: choices: expected a list of texts"),
        ({"choices": ["red", ""]}, r"line 1: choices: expected a list of texts"),
        ({"answer": 4}, r"line 1: answer: expected the place of one of two to 26 choices"),
        ({"answer": "B"}, r"line 1: answer: expected the place"),
    ],
)
def test_a_question_that_does_not_fit_is_reported_without_its_text(
    folder: Path, change: dict[str, object], message: str
) -> None:
    file = folder / "wmdp-bio" / "test.jsonl"
    lines = read_lines(file)
    write_lines(file, [lines[0] | change, *lines[1:]])
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert "bio 0" not in str(caught.value)


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no wmdp-chem/test\.jsonl; set prepare\.wmdp\.path to a folder"):
        load(folder, domains=["chem"])
    with pytest.raises(DataError, match=r"prepare\.wmdp\.domains: empty; name bio, cyber or chem"):
        load(folder, domains=[])
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        load(folder, forget=f"{folder}/nowhere.jsonl")
    write_lines(folder / "retain.jsonl", [])
    with pytest.raises(DataError, match=r"retain\.jsonl: no rows; prepare\.wmdp\.retain needs a text in each line"):
        load(folder)


def test_a_line_of_a_corpus_without_a_text_is_named(folder: Path) -> None:
    write_lines(folder / "forget.jsonl", [{"title": "On herons"}])
    with pytest.raises(DataError, match=r"forget\.jsonl, line 1: question: missing; a row needs .* or 'text'"):
        load(folder)
