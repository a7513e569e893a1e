import json

from ruamel.yaml import YAML

from lethe.tasks import multiple_choice_task

ITEMS = [("Where is «Ë»?", ["here", "there"], 0), ("Which?", ["this", "that"], 1)]


def test_a_task_is_one_file_for_lm_eval_and_one_with_its_questions() -> None:
    files = multiple_choice_task("towns", ITEMS)
    assert set(files) == {"towns.yaml", "towns.jsonl"}
    assert [json.loads(line) for line in files["towns.jsonl"].splitlines()] == [
        {"question": "Where is «Ë»?", "choices": ["here", "there"], "answer": 0},
        {"question": "Which?", "choices": ["this", "that"], "answer": 1},
    ]


def test_the_task_finds_its_questions_where_prepare_puts_them() -> None:
    task = YAML(typ="safe", pure=True).load(multiple_choice_task("towns", ITEMS)["towns.yaml"])
    assert task["task"] == "towns"
    assert task["dataset_kwargs"] == {"data_files": {"test": "data/prepared/tasks/towns.jsonl"}}
    assert task["output_type"] == "multiple_choice"
