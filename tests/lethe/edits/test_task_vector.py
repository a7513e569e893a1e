import pytest
import torch

from lethe import editing
from lethe.edits import task_vector
from tests import small_recipes, unlearned
from tests.encoded import examples
from tests.tiny import tiny_model

CONFIG = task_vector.Config(**small_recipes.SETTINGS["edit"]["task_vector"])
FORGET = examples([(f"lose {n}?", letter * 4) for n, letter in enumerate("abcd")])


def vector(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.fixture
def edited(tmp_path):
    def run(scale):
        model = tiny_model()
        given = unlearned.material(model, FORGET, [], tmp_path, fingerprint=str(scale))
        task_vector.edit(model, given, CONFIG.model_copy(update={"scale": scale}))
        return vector(model)

    return run


def test_at_minus_one_it_is_the_model_that_learnt_the_forget_rows(edited, tmp_path):
    model = tiny_model()
    given = unlearned.material(model, FORGET, [], tmp_path)
    editing.learn(model, FORGET, CONFIG, given, phase="task-vector")
    torch.testing.assert_close(edited(-1.0), vector(model))


def test_it_is_linear_in_the_scale(edited):
    origin = vector(tiny_model())
    torch.testing.assert_close(edited(2.0) - origin, 2 * (edited(1.0) - origin), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(edited(-0.5) - origin, -0.5 * (edited(1.0) - origin), rtol=1e-4, atol=1e-6)
