"""What every source of data owes; a new source needs nothing here but a small configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lethe import registry, scores, splits
from tests import fake_muse, fake_rwku, fake_tofu, fake_wmdp

SOURCES = registry.names("sources")


def world(folder: Path) -> dict[str, Any]:
    return {
        "seed": 0,
        "num_forget_people": 2,
        "num_retain_people": 3,
        "num_holdout_people": 2,
        "num_other_people": 2,
        "num_general_people": 1,
        "num_towns": 6,
        "num_false_answers": 3,
    }


def tofu(folder: Path) -> dict[str, Any]:
    return {"path": str(fake_tofu.write(folder / "tofu")), "split": "forget05", "general": None}


def jsonl(folder: Path) -> dict[str, Any]:
    fake_tofu.write_lines(folder / "forget.jsonl", fake_tofu.questions("Author", 3))
    fake_tofu.write_lines(folder / "retain.jsonl", [{"text": "The sea is salty."}])
    return {
        "forget": f"{folder}/forget.jsonl",
        "retain": f"{folder}/retain.jsonl",
        "holdout": None,
        "utility": None,
        "general": None,
    }


def muse(folder: Path) -> dict[str, Any]:
    return {"path": str(fake_muse.write(folder / "muse")), "forget": "raw/forget", "shots": 2, "max_new_tokens": 3}


def rwku(folder: Path) -> dict[str, Any]:
    return {"path": str(fake_rwku.write(folder / "rwku")), "subjects": ["Ada", "Bo"], "corpus": None}


def wmdp(folder: Path) -> dict[str, Any]:
    return fake_wmdp.settings(fake_wmdp.write(folder / "wmdp"))


SMALL: dict[str, Callable[[Path], dict[str, Any]]] = {
    "world": world,
    "tofu": tofu,
    "muse": muse,
    "rwku": rwku,
    "wmdp": wmdp,
    "jsonl": jsonl,
}


@pytest.fixture(params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def loaded(name: str, tmp_path: Path) -> splits.Splits:
    return load(name, tmp_path)


def load(name: str, folder: Path) -> splits.Splits:
    module = registry.load("sources", name)
    return module.load(module.Config(**SMALL[name](folder)))


def test_every_source_has_a_small_configuration_to_be_tested_with() -> None:
    assert set(SMALL) == set(SOURCES)


def test_no_setting_of_a_source_has_a_default(name: str) -> None:
    fields = registry.load("sources", name).Config.model_fields
    assert fields
    assert all(field.is_required() for field in fields.values())


def test_a_source_says_whether_its_text_may_be_shown(name: str) -> None:
    assert isinstance(registry.load("sources", name).PUBLIC_TEXT, bool)


def test_the_splits_can_carry_an_experiment(loaded: splits.Splits) -> None:
    splits.check(loaded)


def test_the_same_configuration_gives_the_same_rows(name: str, loaded: splits.Splits, tmp_path: Path) -> None:
    assert load(name, tmp_path) == loaded


def test_no_cluster_is_both_to_be_forgotten_and_kept(loaded: splits.Splits) -> None:
    about_forget = [row for split, rows in loaded.asked.items() if scores.is_forget(split) for row in rows]
    forgotten = {row.cluster for row in loaded.forget + about_forget}
    kept = loaded.retain + loaded.about("retain") + loaded.asked.get("retain_mia", []) + loaded.holdout + loaded.utility
    assert not forgotten & {row.cluster for row in kept}


def test_what_is_asked_belongs_to_forget_or_retain(loaded: splits.Splits) -> None:
    assert all(scores.is_forget(name) or name in ("retain", "retain_mia") for name in loaded.asked)
    assert all(loaded.asked.values())


def test_no_false_answer_is_the_true_one(loaded: splits.Splits) -> None:
    for row in [*loaded.forget, *loaded.retain, *loaded.holdout, *loaded.utility]:
        assert not {row.answer, row.paraphrased_answer} & set(row.perturbed_answers)


def test_every_task_brings_its_questions(loaded: splits.Splits) -> None:
    stems = [{Path(file).stem for file in loaded.tasks if file.endswith(end)} for end in (".yaml", ".jsonl")]
    assert stems[0] == stems[1]
