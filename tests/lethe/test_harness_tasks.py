"""The user's own tasks, through the real lm-eval and without a network."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from lethe import artifacts, capabilities
from lethe.errors import ConfigError
from lethe.tasks import multiple_choice_task
from tests.lethe.test_capabilities import SETTINGS
from tests.tiny import tiny_model, tiny_tokenizer

LETTERS = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/{name}.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nA. {{{{choices[0]}}}}\\nB. {{{{choices[1]}}}}\\nAnswer:"
doc_to_choice: ["A", "B"]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
GROUP = """
group: instruments
task: [lyre, drum]
aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder with two tasks and the group of them; the source brings the task ``harp``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for file, text in multiple_choice_task("harp", [("Where?", ["here", "there"], 0)]).items():
        artifacts.write_text(artifacts.TASKS / file, text)
    artifacts.write_json(artifacts.TASK_NAMES, ["harp"])
    folder = tmp_path / "tasks"
    folder.mkdir()
    write(folder, "lyre", 3)
    write(folder, "drum", 5)
    (folder / "group.yaml").write_text(GROUP, encoding="utf-8")
    return folder


def write(folder: Path, name: str, count: int) -> None:
    lines = [{"question": f"{name} {n}?", "choices": ["oak", "gold"], "answer": n % 2} for n in range(count)]
    (folder / f"{name}.yaml").write_text(LETTERS.format(name=name, folder=folder), encoding="utf-8")
    (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def evaluate(*tasks: str, **changes: Any) -> dict[str, Any]:
    config = capabilities.Config(**(SETTINGS | {"tasks": list(tasks)} | changes))
    names = capabilities.task_names(config)
    return capabilities.evaluate(tiny_model(), tiny_tokenizer(), names, config)["tasks"]


def refuse(*arguments: object) -> None:
    raise AssertionError(f"connects to {arguments[1:]}")


def test_a_task_and_a_group_of_the_user_run_beside_those_of_the_source_without_a_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = evaluate("instruments")
    assert set(found) == {"harp", "lyre", "drum", "instruments"}
    acc = {name: values["metrics"]["acc"] for name, values in found.items()}
    assert {name: values["n"] for name, values in acc.items()} == {"harp": 1, "lyre": 3, "drum": 5, "instruments": 8}
    right = acc["lyre"]["value"] * 3 + acc["drum"]["value"] * 5
    assert acc["instruments"]["value"] == pytest.approx(right / 8)
    assert set(evaluate("drum")) == {"harp", "drum"}


def test_an_edited_task_gives_other_results(folder: Path) -> None:
    before = evaluate("lyre")["lyre"]["metrics"]["acc"]
    text = (folder / "lyre.jsonl").read_text(encoding="utf-8")
    (folder / "lyre.jsonl").write_text(text.replace('"answer": 0', '"answer": 1'), encoding="utf-8")
    after = evaluate("lyre")["lyre"]["metrics"]["acc"]
    assert after["value"] != before["value"]


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"capabilities\.include_path: no folder 'elsewhere'; make it, or name"):
        evaluate("lyre", include_path="elsewhere")


def test_a_file_that_is_no_yaml_is_named_with_its_place(folder: Path) -> None:
    (folder / "bad.yaml").write_text("task: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.yaml: not valid YAML: .*line 1") as caught:
        evaluate("lyre")
    assert "\n" not in str(caught.value)


def test_a_task_may_call_functions_of_a_file_beside_it(folder: Path) -> None:
    (folder / "code.py").write_text("def ask(doc):\n    return 'Say: ' + doc['question']\n", encoding="utf-8")
    text = (folder / "lyre.yaml").read_text(encoding="utf-8")
    asked = next(line for line in text.splitlines() if line.startswith("doc_to_text"))
    (folder / "lyre.yaml").write_text(text.replace(asked, "doc_to_text: !function code.ask"), encoding="utf-8")
    assert evaluate("lyre")["lyre"]["metrics"]["acc"]["n"] == 3


def test_a_task_with_the_name_of_one_of_the_source_is_refused(folder: Path) -> None:
    write(folder, "harp", 2)
    with pytest.raises(ConfigError, match=r"tasks has a task 'harp', as the source has; give it another name"):
        evaluate()


def test_a_task_whose_data_are_missing_is_one_line(folder: Path) -> None:
    (folder / "lyre.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"cannot load lyre: .*lyre\.jsonl.*; see to what it asks for") as caught:
        evaluate("lyre")
    assert "\n" not in str(caught.value)


def test_a_task_that_is_in_a_group_and_named_as_well_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load instruments, drum: Duplicate task 'drum'"):
        evaluate("instruments", "drum")


@pytest.fixture
def wmdp_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of lm-eval's own tasks those of WMDP: all of them take seconds to list."""
    import lm_eval.tasks
    from lm_eval.tasks._index import TaskIndex

    shipped = Path(lm_eval.tasks.__file__).parent

    def files(root: Path) -> list[Path]:
        return sorted((root / "wmdp" if root == shipped else root).rglob("*.yaml"))

    monkeypatch.setattr(TaskIndex, "_iter_yaml_files", staticmethod(files))


@pytest.mark.usefixtures("wmdp_alone")
@pytest.mark.parametrize(
    ("name", "close"), [("wmdp_bioo", "wmdp_bio"), ("lyr", "lyre"), ("harq", "harp"), ("instrument", "instruments")]
)
def test_an_unknown_task_is_refused_with_the_nearest_one(folder: Path, name: str, close: str) -> None:
    with pytest.raises(ConfigError, match=rf"capabilities\.tasks: no task '{name}' in tasks .*mean .*'{close}'"):
        evaluate(name)


@pytest.mark.usefixtures("wmdp_alone")
def test_an_unknown_member_of_a_group_is_refused_as_well(folder: Path) -> None:
    (folder / "group.yaml").write_text(GROUP.replace("drum", "drun"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no task 'drun' in tasks .* Did you mean 'drum'"):
        evaluate("instruments")


@pytest.mark.usefixtures("wmdp_alone")
def test_a_group_may_name_a_task_of_lm_eval_which_wants_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def without_hub(path: str, *arguments: object, **options: object) -> None:
        raise ConnectionError(f"no route\nto {path}")

    monkeypatch.setattr(datasets, "load_dataset", without_hub)
    (folder / "group.yaml").write_text(GROUP.replace("[lyre, drum]", "[wmdp_bio]"), encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot load instruments: no route to cais/wmdp; ") as caught:
        evaluate("instruments")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_lm_eval_knows_its_own_tasks_and_no_others(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no task 'mmlu_anatomi' .* Did you mean 'mmlu_anatomy'"):
        evaluate("mmlu_anatomi")
