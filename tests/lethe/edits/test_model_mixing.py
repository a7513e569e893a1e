import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import editing
from lethe.edits import model_mixing
from lethe.metrics import extraction_strength
from tests import small_recipes, unlearned
from tests.encoded import examples
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["model_mixing"]
RETAIN = examples([(f"keep {n}?", letter * 4) for n, letter in enumerate("abcdef")])


def config(**changes):
    return model_mixing.Config(**SETTINGS | changes)


@pytest.mark.parametrize(
    ("hits", "strength"), [([1, 0, 1, 1], 0.5), ([1, 1, 1], 1.0), ([1, 1, 0], 0.0), ([0, 0, 1], 1 / 3), ([], 0.0)]
)
def test_strength_is_the_share_of_the_longest_end_of_hits(hits, strength):
    assert model_mixing.extraction_strength(torch.tensor(hits, dtype=torch.bool)) == pytest.approx(strength)


@given(hits=st.lists(st.booleans(), min_size=1, max_size=12))
def test_it_is_the_strength_of_the_metric(hits):
    found = model_mixing.extraction_strength(torch.tensor(hits))
    assert found == pytest.approx(extraction_strength.strength(np.array(hits)))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_ends_of_the_way_are_the_two_models_bit_for_bit(share):
    model, original, unlearned_weights = tiny_model(), editing.copied(tiny_model(1)), editing.copied(tiny_model(2))
    model_mixing.mix(model, original, unlearned_weights, share)
    for name, parameter in model.named_parameters():
        middle = (original[name] + unlearned_weights[name]) / 2
        expected = {0.0: original[name], 0.5: middle, 1.0: unlearned_weights[name]}[share]
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-7 if share == 0.5 else 0)


def test_the_highest_point_of_the_grid_that_keeps_enough_is_found_behind_a_dip():
    # Enough is kept up to 0.3 and again from 0.45 to 0.6. On a grid of 4, from above: 1 and 0.75 fail, 0.5 keeps. The
    # step above it, halved: 0.625 fails, 0.5625 keeps, 0.59375 keeps.
    def keeps(share):
        return share <= 0.3 or 0.45 <= share <= 0.6

    assert model_mixing.largest(keeps, config(grid=4, bisections=3)) == 0.59375


def test_where_everything_is_kept_nothing_is_taken_back():
    assert model_mixing.largest(lambda share: True, config()) == 1


def test_where_nothing_is_kept_the_original_is_left():
    assert model_mixing.largest(lambda share: False, config(bisections=0)) == 0


@given(limit=st.floats(0, 1), bisections=st.integers(0, 8))
def test_what_is_found_keeps_enough_and_is_near_the_limit(limit, bisections):
    found = model_mixing.largest(lambda share: share <= limit, config(grid=5, bisections=bisections))
    assert found <= limit
    assert found >= limit - 0.2 / 2**bisections - 1e-9


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    model = tiny_model()
    fitting = editing.Fitting(
        optimizer=small_recipes.SETTINGS["optimizer"]["adamw"] | {"lr": 5e-3},
        mask={"name": "all"},
        training=small_recipes.training(steps=50, batch_size=6, checkpoint_steps=100),
    )
    given_rows = unlearned.material(model, [], RETAIN, tmp_path_factory.mktemp("knowing"))
    editing.learn(model, RETAIN, fitting, given_rows, phase="learn")
    return model


def test_what_is_kept_is_read_from_the_rows_that_the_recipe_names(knowing, tmp_path):
    # As validation rows one that the model knows by heart, as retain rows others that it has never seen.
    unseen = examples([(f"keep {n}?", "zq" * 3) for n in range(6)])
    given_rows = unlearned.material(knowing, [], unseen, tmp_path, validation=RETAIN[:1])
    (entry,) = model_mixing.edit(tiny_model(1), given_rows, config(rows="validation"))
    assert entry["original_retain_strength"] == 1.0
    (entry,) = model_mixing.edit(tiny_model(1), given_rows, config(rows="retain"))
    assert entry["original_retain_strength"] < 0.5


@pytest.mark.parametrize("tolerance", [0.3, 0.9, 1.0])
def test_the_mixture_keeps_the_share_that_was_asked_for(knowing, tmp_path, tolerance):
    given_rows = unlearned.material(knowing, [], RETAIN, tmp_path)
    model = tiny_model(1)  # knows nothing
    (entry,) = model_mixing.edit(model, given_rows, config(tolerance=tolerance, bisections=5))
    assert entry["original_retain_strength"] > 0.9
    assert entry["retain_strength"] >= tolerance * entry["original_retain_strength"]
    assert 0 <= entry["mix"] < 1
    hits = editing.first_choices(model, RETAIN, pad=unlearned.PAD)
    strengths = [model_mixing.extraction_strength(choices[:-1]) for choices in hits]
    assert sum(strengths) / len(strengths) == pytest.approx(entry["retain_strength"])
