import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lethe.optimizers import sgd


def stepped(weight, gradients, **changes):
    """The weight after one step for each gradient."""
    parameter = nn.Parameter(torch.tensor([weight]))
    optimizer = sgd.build([parameter], sgd.Config(**{"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0} | changes))
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.item()


@given(gradient=st.floats(-100, 100, width=32), scale=st.sampled_from([0.5, 2.0, 4.0]))
def test_a_step_is_as_long_as_the_gradient(gradient, scale):
    assert stepped(0.0, [scale * gradient]) == pytest.approx(scale * stepped(0.0, [gradient]))
    assert stepped(0.0, [gradient]) == pytest.approx(-0.1 * gradient)


def test_momentum_by_hand():
    # v = 1, then 0.5 × 1 + 2 = 2.5: 5 − 0.1 × 3.5
    assert stepped(5.0, [1.0, 2.0], momentum=0.5) == pytest.approx(4.65)


def test_weight_decay_is_a_gradient_and_goes_through_the_momentum():
    # v = 0.1 × 2 = 0.2, θ = 1.98; v = 0.5 × 0.2 + 0.198 = 0.298, θ = 1.9502
    assert stepped(2.0, [0.0, 0.0], momentum=0.5, weight_decay=0.1) == pytest.approx(1.9502)
