import pytest
import torch
from torch import nn

from lethe.edits import undo
from lethe.errors import DataError
from tests import small_recipes, unlearned
from tests.encoded import examples
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["undo"]
RETAIN = examples([(f"keep {n}?", letter * 4) for n, letter in enumerate("abcd")])


def damaged(alpha, beta, seed=0):
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).reshape(2, 3))
        model.bias.copy_(torch.tensor([8.0, -4.0]))
    undo.damage(model, alpha, beta, seed=seed)
    return model


def test_without_noise_every_weight_shrinks():
    model = damaged(0.25, 0.0)
    assert model.weight.flatten().tolist() == [0, 0.75, 1.5, 2.25, 3, 3.75]
    assert model.bias.tolist() == [6, -3]


def test_at_alpha_zero_nothing_changes():
    model = damaged(0.0, 1.0)
    assert model.weight.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert model.bias.tolist() == [8, -4]


def test_at_alpha_one_a_matrix_is_glorot_noise_of_its_scale_and_a_vector_is_zero():
    # Uniform within ±√(6 / (3 + 2)) = ±1.095, here × 0.5.
    model = damaged(1.0, 0.5)
    assert 0 < model.weight.abs().max() <= 0.5 * (6 / 5) ** 0.5
    assert model.bias.tolist() == [0, 0]
    assert not torch.equal(model.weight, damaged(1.0, 0.5, seed=1).weight)


def test_a_shared_weight_shrinks_once():
    model = tiny_model()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    before = model.lm_head.weight.detach().clone()
    undo.damage(model, 0.5, 0.0, seed=0)
    assert torch.equal(model.lm_head.weight, before / 2)


@pytest.fixture
def edited(tmp_path):
    def run(general=(), **changes):
        model = tiny_model()
        given = unlearned.material(model, [], RETAIN, tmp_path, general=general, fingerprint=str(len(changes)))
        return undo.edit(model, given, undo.Config(**SETTINGS | changes))

    return run


def test_undamaged_the_student_begins_at_its_teacher(edited):
    assert edited(alpha=0.0)[0]["loss"] == pytest.approx(0, abs=1e-6)


def test_the_student_comes_nearer_to_its_teacher(edited):
    curve = edited(training=SETTINGS["training"] | {"steps": 30})
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_rows_that_the_source_does_not_have_are_named(edited):
    with pytest.raises(DataError, match="no general rows"):
        edited(rows="general")


def test_general_rows_are_taught_beside_the_retain_rows(edited):
    alone, beside = edited(alpha=0.5), edited(general=examples([("else?", "something")]), rows="retain_and_general")
    assert alone != beside
