"""The command from end to end, on a tiny world with tiny models: what `python -m benchmarks.shipped_world` does."""

import logging

import pytest

from benchmarks import adaptation, shipped_world
from lethe import artifacts, config, material, models
from lethe.errors import ConfigError
from lethe.rows import Row, dump_rows
from tests.finished import dump_yaml
from tests.learnt import knowing
from tests.tiny import tiny_model, tiny_tokenizer

PARAMS = config.read_params()
RECIPES = {name: PARAMS["recipes"][name] for name in ("graddiff", "npo_down_proj", "ssd")}
SETTINGS = config.read_params(adaptation.SETTINGS) | {
    "training": {"steps": 3, "batch_size": 2, "accumulation": 1},
    "factors": [1.0, 1000.0],
    "validation_rows": 2,
    "exceptions": {"npo_down_proj": {"mask.patterns": ["no such weight"]}},
}


def row(split, number):
    return Row(
        id=f"{split}-{number}",
        cluster=f"{split}-{number % 2}",
        subset=split,
        question=f"{split} {number}?",
        answer=f"{'abcd'[number]}{split[0]}",
        paraphrased_answer=f"{'abcd'[number]} {split[0]}",
        perturbed_answers=("zz", "yy"),
    )


FORGET, RETAIN, GENERAL, HOLDOUT = (
    [row(split, number) for number in range(4)] for split in ("forget", "retain", "general", "holdout")
)


@pytest.fixture(autouse=True)
def _in_a_finished_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adaptation.SETTINGS.parent.mkdir()
    dump_yaml(config.PARAMS, PARAMS | {"recipes": RECIPES})
    dump_yaml(adaptation.SETTINGS, SETTINGS)
    asked = [*FORGET, *RETAIN[:2], *GENERAL, *HOLDOUT]
    for path, rows in zip(material.FILES, (FORGET, RETAIN, GENERAL, asked), strict=True):
        artifacts.write_text(path, dump_rows(rows))
    facts = [(row.question, row.answer) for row in (*FORGET, *RETAIN, *GENERAL)]
    for name, model in (("target", knowing(*facts)), ("retain", tiny_model())):
        with artifacts.replacing(artifacts.model(name)) as folder:
            models.save(model, tiny_tokenizer(), folder, dtype="bfloat16")
    ours = logging.getLogger("lethe")
    level = ours.level
    yield
    ours.setLevel(level)  # the command turns it down for the whole process


def results():
    return artifacts.read_json(shipped_world.RESULTS)["recipes"]


def test_every_recipe_gets_its_numbers_or_its_reason_and_a_row_of_the_page():
    shipped_world.main([])
    found = results()
    assert found["graddiff"]["reason"] is None
    assert set(found["graddiff"]["excess"]) == {"int4_channel", "int3_channel"}
    assert 0 <= found["graddiff"]["forget_knowledge"]["value"] <= 1
    assert found["graddiff"]["processor_minutes"] > 0
    assert found["ssd"]["factor"] is None
    assert "matches no parameter of this model" in found["npo_down_proj"]["reason"]
    page = shipped_world.PAGE.read_text()
    assert all(f"| `{name}` |" in page for name in RECIPES)


def test_the_numbers_are_those_of_the_target_where_nothing_is_changed():
    unchanged = RECIPES["ssd"]["edit"] | {"alpha": 1e30}
    dump_yaml(config.PARAMS, PARAMS | {"recipes": {"ssd": RECIPES["ssd"] | {"edit": unchanged}}})
    shipped_world.main([])
    target = artifacts.read_json(shipped_world.RESULTS)["controls"]["target"]
    found = results()["ssd"]
    assert found["forget_knowledge"] == found["matched_forget_knowledge"] == target["forget_knowledge"]
    assert found["utility"] == target["utility"]
    assert found["matched_share"] == 1.0
    assert not found["forgets"]


def test_only_what_changed_runs_again(capsys):
    shipped_world.main(["--recipes", "graddiff", "ssd"])
    before = results()
    capsys.readouterr()
    shipped_world.main(["--recipes", "graddiff", "ssd"])
    assert "of 1" not in capsys.readouterr().out  # no line of progress: nothing was run
    assert results() == before
    edit = RECIPES["ssd"]["edit"] | {"alpha": 20.0}
    dump_yaml(config.PARAMS, PARAMS | {"recipes": RECIPES | {"ssd": RECIPES["ssd"] | {"edit": edit}}})
    shipped_world.main(["--recipes", "graddiff", "ssd"])
    assert results()["graddiff"] == before["graddiff"]
    assert results()["ssd"]["key"] != before["ssd"]["key"]


def test_what_a_part_of_the_recipes_leaves_out_is_said_to_be_not_run_yet():
    shipped_world.main(["--recipes", "ssd"])
    assert "| `graddiff` |" in shipped_world.PAGE.read_text()
    assert shipped_world.PAGE.read_text().count("not run yet") == 2


@pytest.mark.parametrize("more", [[], ["--page"]])
def test_an_unknown_recipe_is_an_error_that_names_the_nearest_before_anything_is_run(more):
    with pytest.raises(ConfigError, match="Did you mean 'graddiff'"):
        shipped_world.main(["--recipes", "ssd", "gradiff", *more])
    assert not shipped_world.RESULTS.exists()
    assert not shipped_world.PAGE.exists()
