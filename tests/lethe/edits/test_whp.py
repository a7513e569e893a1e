import copy

import pytest
import torch

from lethe import editing
from lethe.edits import whp
from tests import small_recipes, unlearned
from tests.encoded import examples
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["whp"]
FORGET = examples([(f"lose {n}?", letter * 4) for n, letter in enumerate("abcd")])


def test_worked_example():
    # v − α ReLU(v' − v): at α = 1, 3 − 2 = 1, 2 − 0 = 2, 0 − 4 = −4. At α = 0.25, 2.5, 2 and −1.
    logits, reinforced = torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([[5.0, 1.0, 4.0]])
    assert whp.generic_labels(logits, reinforced, 1.0).tolist() == [1]
    assert whp.generic_labels(logits, reinforced, 0.25).tolist() == [0]
    assert whp.generic_labels(logits, reinforced, 0.0).tolist() == [0]


def test_a_token_whose_logit_fell_is_not_rewarded():
    # Without the ReLU the second would be 2 + 5 × 3 = 17.
    assert whp.generic_labels(torch.tensor([[3.0, 2.0]]), torch.tensor([[3.0, -1.0]]), 5.0).tolist() == [0]


@pytest.fixture
def edited(tmp_path):
    def run(model, **changes):
        given = unlearned.material(model, FORGET, [], tmp_path, fingerprint=str(changes.get("alpha")))
        return whp.edit(model, given, whp.Config(**SETTINGS | changes))

    return run


def test_the_curve_is_that_of_both_models(edited):
    curve = edited(tiny_model())
    assert [entry["step"] for entry in curve] == list(range(1, 13))


def test_at_alpha_zero_the_labels_are_what_the_model_says_already(edited):
    model = tiny_model()
    before = copy.deepcopy(model)
    curve = edited(model, alpha=0.0)
    said, known = (editing.mean_nll(one, FORGET, pad=unlearned.PAD) for one in (model, before))
    assert curve[6]["loss"] < curve[0]["loss"]  # its own first choices are likelier than the answers
    assert said != known


def test_what_the_model_knows_by_heart_is_relabelled(edited, tmp_path):
    # Reinforcing raises the logits of the answers above all others, so that no generic label is a token of theirs.
    model = tiny_model()
    longer = SETTINGS["reinforce"] | {"training": small_recipes.training(steps=40)}
    faster = longer | {"optimizer": SETTINGS["reinforce"]["optimizer"] | {"lr": 5e-3}}
    given = unlearned.material(model, FORGET, [], tmp_path)
    editing.learn(model, FORGET, editing.Fitting(**faster), given, phase="learn")
    before = editing.mean_nll(model, FORGET, pad=unlearned.PAD)
    edited(model, alpha=20.0, reinforce=longer, relabel=faster)
    assert before < 0.5
    assert editing.mean_nll(model, FORGET, pad=unlearned.PAD) > 5
