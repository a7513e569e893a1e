import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import batches
from lethe.batches import Example
from lethe.forget_objectives import inverted_hinge
from lethe.losses import Context
from tests.logit_table import saying

NOTHING = Context(reference=None, seed=0)


def loss_and_gradient(probabilities, target):
    batch = batches.collate([Example("row", (1, 2, target), 1, True)], pad=0)
    model = saying(batch, [[math.log(p) for p in probabilities]])
    loss = inverted_hinge.loss(model, batch, inverted_hinge.Config(), NOTHING)
    loss.backward()
    return loss.item(), model.logits.grad[0, 1]


def test_worked_examples():
    assert loss_and_gradient([0.7, 0.2, 0.1], 0)[0] == pytest.approx(1 + 0.7 - 0.2, rel=1e-6)
    assert loss_and_gradient([0.7, 0.2, 0.1], 1)[0] == pytest.approx(1 + 0.2 - 0.7, rel=1e-6)


def test_the_rest_of_the_vocabulary_is_hardly_moved():
    # d(p_0 − p_1)/dz_v = p_v (…): 0.5 × (1 − 0.1) for the target, −0.4 × (1 + 0.1) for the runner-up, −0.1 × 0.1.
    _, gradient = loss_and_gradient([0.5, 0.4, 0.1], 0)
    torch.testing.assert_close(gradient, torch.tensor([0.45, -0.44, -0.01]))


@given(logits=st.lists(st.floats(-10, 10), min_size=3, max_size=3), target=st.integers(0, 2))
def test_it_lies_between_zero_and_two_and_never_pulls_the_target_up(logits, target):
    probabilities = torch.tensor(logits).softmax(-1).clamp(min=1e-30).tolist()
    loss, gradient = loss_and_gradient(probabilities, target)
    assert -1e-6 <= loss <= 2 + 1e-6
    assert gradient[target] >= 0


def test_the_pull_dies_out_once_another_token_has_won():
    _, gradient = loss_and_gradient([1e-6, 1 - 2e-6, 1e-6], 0)
    assert gradient.abs().max() < 1e-5
