import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lethe import preparation
from lethe.errors import DataError
from lethe.rows import Row, read_rows
from lethe.splits import Splits
from lethe.tasks import multiple_choice_task

NUM_RETAIN_QUESTIONS = 2
FALSE = {"paraphrased_answer": "It is so.", "perturbed_answers": ("no", "never")}


def question(identity: str, **optional: object) -> Row:
    return Row.model_validate(
        {"id": identity, "cluster": identity[0], "question": f"What of {identity}?", "answer": identity} | optional
    )


def text(identity: str, words: str = "") -> Row:
    return Row(id=identity, cluster=identity, text=words or f"About {identity}.")


def splits(**others: object) -> Splits:
    """Two forget questions of one cluster, four retain questions of two, one of holdout, one of utility."""
    return Splits(
        **{
            "forget": [question("a1", **FALSE), question("a2", **FALSE)],
            "retain": [
                question("b1"),
                question("b2", **FALSE),
                question("c1", **FALSE),
                question("c2", **FALSE),
            ],
            "holdout": [question("h1")],
            "utility": [question("u1", subset="facts", perturbed_answers=("x",))],
            "tasks": multiple_choice_task("choice", [("Which?", ["this", "that"], 1)]),
            **others,
        }
    )


def write(folder: Path, data: Splits) -> dict[str, object]:
    preparation.write(folder, data, NUM_RETAIN_QUESTIONS, source="jsonl", public_text=False)
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_every_split_is_a_file_that_reads_back_as_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path / "prepared", splits())
    for name in ("forget", "retain", "holdout", "utility"):
        assert read_rows(tmp_path / "prepared" / f"{name}.jsonl") == getattr(splits(), name)


def test_the_questions_name_the_split_of_every_row(tmp_path: Path) -> None:
    write(tmp_path / "prepared", splits())
    asked = read_rows(tmp_path / "prepared" / "questions.jsonl")
    # Two of the three retain rows with false answers: positions 0·3//2 = 0 and 1·3//2 = 1 among them.
    assert [(row.id, row.subset) for row in asked] == [
        ("a1", "forget"),
        ("a2", "forget"),
        ("b2", "retain"),
        ("c1", "retain"),
        ("h1", "holdout"),
        ("u1", "facts"),
    ]


def test_the_same_splits_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, splits())
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two")]
    assert len(files[0]) == 10
    for one, two in zip(*files, strict=True):
        assert one.relative_to(tmp_path / "one") == two.relative_to(tmp_path / "two")
        assert one.read_bytes() == two.read_bytes()


def test_the_manifest_counts_rows_clusters_and_optional_fields(tmp_path: Path) -> None:
    manifest = write(tmp_path / "prepared", splits())
    assert (manifest["source"], manifest["public_text"], manifest["num_questions"]) == ("jsonl", False, 6)
    assert manifest["splits"]["retain"] == {
        "rows": 4,
        "clusters": 2,
        "with_text": 0,
        "with_paraphrased_question": 0,
        "with_paraphrased_answer": 3,
        "with_perturbed_answers": 3,
    }


def test_the_manifest_holds_the_hash_of_every_other_file(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    manifest = write(folder, splits())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert manifest["sha256"].keys() == files - {"manifest.json"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_data_with_everything_lacks_no_metric() -> None:
    assert preparation.unavailable(splits()) == {}


def test_plain_text_without_extra_files_says_which_metrics_it_cannot_carry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Splits(forget=[text("a")], retain=[text("b")])
    with caplog.at_level("INFO"):
        manifest = write(tmp_path / "prepared", data)
    assert set(manifest["unavailable"]) == {
        "truth_ratio on forget",
        "forget_quality",
        "truth_ratio on retain",
        "truth_ratio on utility",
        "rouge on forget",
        "rouge on retain",
        "comparison with rows never seen",
        "model_utility beyond retain",
    }
    assert "Skipped: rouge on forget, because no forget row is a question." in caplog.messages
    assert len(caplog.messages) == len(manifest["unavailable"])


def test_one_question_with_false_answers_is_enough_for_a_metric_to_be_there() -> None:
    data = splits(forget=[question("a1"), question("a2", **FALSE)])
    assert "forget_quality" not in preparation.unavailable(data)


def test_forget_text_that_stands_in_retain_word_for_word_is_counted_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    eight = "one two three four five six seven eight"
    seven = "nine ten eleven twelve thirteen fourteen fifteen"
    data = Splits(
        forget=[text("a", f"Say {eight}."), text("b", f"Say {seven}.")],
        retain=[text("c", f"{eight.upper()}, {seven}!")],
    )
    with caplog.at_level("INFO"):
        manifest = write(tmp_path / "prepared", data)
    assert manifest["near_duplicates"] == 1  # runs of eight words count, runs of seven do not
    assert "1 of 2 forget rows share eight words in a row with a retain row; such knowledge stays." in caplog.messages


def test_the_log_holds_no_word_of_the_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        write(
            tmp_path / "prepared",
            Splits(forget=[text("a", "secret words")], retain=[text("b", "secret words too")]),
        )
    assert caplog.messages
    assert "secret" not in caplog.text


def test_the_list_of_tasks_is_there_even_without_tasks(tmp_path: Path) -> None:
    write(tmp_path / "with", splits())
    write(tmp_path / "without", splits(tasks={}))
    assert json.loads((tmp_path / "with" / "tasks" / "names.json").read_text()) == ["choice"]
    assert json.loads((tmp_path / "without" / "tasks" / "names.json").read_text()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forget": []}, "The forget set is empty"),
        ({"retain": []}, "The retain set is empty"),
        ({"retain": [question("a1")]}, "The id 'a1' stands 2 times"),
        (
            {"retain": [question("a1").model_copy(update={"id": "z"})]},
            "Forget row 'a1' also stands in retain",
        ),
        (
            {"holdout": [question("a1").model_copy(update={"id": "z"})]},
            "Forget row 'a1' also stands in holdout",
        ),
        ({"utility": [question("u1", subset="forget")]}, "subset 'forget' names a split"),
    ],
)
def test_splits_that_cannot_carry_an_experiment_write_nothing(
    tmp_path: Path, change: dict[str, list[Row]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "prepared", splits(**change))
    assert not (tmp_path / "prepared").exists()


def test_at_least_one_retain_question_is_asked() -> None:
    with pytest.raises(ValidationError):
        preparation.Config(num_retain_questions={"jsonl": 0})


def test_preparing_data_never_loads_torch() -> None:
    code = (
        "import sys; from lethe import preparation, registry\n"
        "for name in registry.names('sources'): registry.load('sources', name)\n"
        "print(sorted(sys.modules.keys() & {'torch', 'transformers', 'datasets', 'lm_eval'}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
