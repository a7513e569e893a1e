import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import adaptation
from lethe import config, recipes
from lethe.errors import ConfigError
from lethe.recipes import Training

SETTINGS = adaptation.read()
RATES = SETTINGS.scaled_rates
TRAINING = {
    "weights": "fp32_master",
    "compute_dtype": "float32",
    "steps": 120,
    "batch_size": 4,
    "accumulation": 8,
    "schedule": "linear",
    "warmup_steps": 30,
    "max_grad_norm": None,
    "checkpoint_steps": 50,
}


def recipe(**changes):
    blocks = {"optimizer": {"name": "hybrid", "lr": 1e-5, "zeroth_order_lr": 2e-5, "period": 60}, "training": TRAINING}
    return {"mask": {"name": "layers", "patterns": ["a"]}, "wrapper": None, "edit": None, **blocks, **changes}


@pytest.mark.parametrize("name", config.block("recipes"))
def test_every_recipe_is_still_one_at_its_length_here_and_at_the_largest_factor(name, tmp_path):
    values = adaptation.adapted(name, recipes.resolve(name), SETTINGS)
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(adaptation.faster(values, SETTINGS.factors[-1], RATES)))
    point = recipes.from_resolved(path).point
    if point is not None:
        assert point.training.steps <= SETTINGS.training.steps
        assert point.training.weights == recipes.read(name).point.training.weights


def test_every_exception_belongs_to_a_recipe():
    assert set(SETTINGS.exceptions) <= set(config.block("recipes"))


def test_a_training_is_shortened_and_the_steps_inside_of_it_shrink_along():
    shortened = adaptation.adapted("x", recipe(edit={"name": "e", "training": TRAINING | {"steps": 60}}), SETTINGS)
    assert Training(**shortened["training"]).steps == 40
    assert (shortened["training"]["batch_size"], shortened["training"]["accumulation"]) == (16, 1)
    assert shortened["training"]["warmup_steps"] == 10  # 30 of 120 are 10 of 40
    assert shortened["optimizer"]["period"] == 20  # 60 of 120
    assert shortened["edit"]["training"]["warmup_steps"] == 20  # 30 of 60


def test_no_learning_rate_changes_with_the_length():
    assert adaptation.adapted("x", recipe(), SETTINGS)["optimizer"]["lr"] == 1e-5


def test_learning_rates_of_weights_are_multiplied_and_nothing_else():
    values = recipe(wrapper={"name": "lat", "lr": 0.1}, edit={"name": "e", "optimizer": {"lr": 1.0}, "scale": 4.0})
    found = adaptation.faster(values, 10.0, RATES)
    assert found["optimizer"] == {"name": "hybrid", "lr": 1e-4, "zeroth_order_lr": 2e-4, "period": 60}
    assert found["edit"] == {"name": "e", "optimizer": {"lr": 10.0}, "scale": 4.0}
    assert found["wrapper"] == values["wrapper"]  # a step in hidden states
    assert found["training"] == TRAINING


def test_the_adversary_of_a_wrapper_learns_faster_too():
    assert adaptation.faster({"wrapper": {"lrs": [1e-6, 2e-6]}}, 2.0, RATES)["wrapper"]["lrs"] == [2e-6, 4e-6]


def test_several_wrappers_are_adapted_one_by_one():
    wrappers = [
        {"name": "lat", "lr": 0.1},
        {"name": "tar", "lrs": [1.0]},
        {"name": "weight_averaging", "start_step": 60},
    ]
    shortened = adaptation.adapted("x", recipe(wrapper=wrappers), SETTINGS)["wrapper"]
    assert shortened == [*wrappers[:2], {"name": "weight_averaging", "start_step": 20}]  # 60 of 120 are 20 of 40
    faster = adaptation.faster(recipe(wrapper=wrappers), 10.0, RATES)["wrapper"]
    assert faster == [wrappers[0], {"name": "tar", "lrs": [10.0]}, wrappers[2]]


def test_an_exception_is_put_in_its_place():
    settings = SETTINGS.model_copy(update={"exceptions": {"x": {"mask.patterns": ["b"]}}})
    assert adaptation.adapted("x", recipe(), settings)["mask"]["patterns"] == ["b"]
    assert adaptation.adapted("y", recipe(), settings)["mask"]["patterns"] == ["a"]


@pytest.mark.parametrize("path", ["mask.rank", "wrapper.lr", "edit"])
def test_an_exception_without_a_place_is_an_error_that_names_it(path):
    values = {key: value for key, value in recipe().items() if key != "edit"}
    settings = SETTINGS.model_copy(update={"exceptions": {"x": {path: 1}}})
    with pytest.raises(ConfigError, match=f"exceptions.x.{path}: the recipe has no such place"):
        adaptation.adapted("x", values, settings)


def test_the_search_begins_where_the_rate_is_likely_and_a_closed_form_has_one_factor():
    assert (
        SETTINGS.factors[adaptation.tried_factors(recipe(), SETTINGS)[1]] == 20.0
    )  # 1e-5 × 20, not × 50, is near 3e-4
    assert adaptation.tried_factors({"edit": {"name": "ssd", "alpha": 10.0}}, SETTINGS) == ([1.0], 0)


@given(st.integers(0, 10), st.integers(0, 9))
def test_the_search_tries_the_smallest_factor_that_forgets_and_the_one_below_it(smallest, start):
    tried = []

    def forgets(factor):
        tried.append(factor)
        return factor >= smallest

    adaptation.search(forgets, range(10), start)
    assert len(tried) == len(set(tried))
    if smallest < 10:
        assert smallest in tried
        assert smallest == 0 or smallest - 1 in tried
    else:
        assert tried == [*range(start, 10)]


def test_the_settings_are_read_from_the_file_beside_the_benchmarks():
    assert Path(adaptation.SETTINGS).exists()
    assert sorted(SETTINGS.factors) == SETTINGS.factors
