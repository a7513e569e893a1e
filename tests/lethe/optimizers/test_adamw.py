import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lethe.optimizers import adamw


def stepped(weight, gradients, **changes):
    """The weight after one step for each gradient."""
    settings = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0} | changes
    parameter = nn.Parameter(torch.tensor([weight]))
    optimizer = adamw.build([parameter], adamw.Config(**settings))
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.item()


@given(gradient=st.floats(1e-3, 1e3), sign=st.sampled_from([-1.0, 1.0]))
def test_the_first_step_is_lr_against_the_sign_whatever_the_size_of_the_gradient(gradient, sign):
    assert stepped(1.0, [sign * gradient]) == pytest.approx(1 - sign * 0.01, abs=1e-6)


def test_weight_decay_is_decoupled_from_the_gradient():
    # A weight of 2 with no gradient loses lr × weight_decay of itself: 2 × (1 − 0.01 × 0.1).
    assert stepped(2.0, [0.0], weight_decay=0.1) == pytest.approx(2 * (1 - 0.001), rel=1e-6)


def test_two_steps_by_hand():
    # β = (1/2, 3/4), gradients 1 then 0: m̂ = 1 then (1/4)/(3/4) = 1/3; v̂ = 1 then (3/16)/(7/16) = 3/7; steps 1 and
    # (1/3)/√(3/7).
    expected = 5 - 0.01 * (1 + (1 / 3) / (3 / 7) ** 0.5)
    assert stepped(5.0, [1.0, 0.0], betas=(0.5, 0.75)) == pytest.approx(expected, rel=1e-6)


def test_eps_damps_gradients_smaller_than_itself():
    # 1 / (1 + 3) of a full step
    assert stepped(0.0, [1.0], eps=3.0) == pytest.approx(-0.01 / 4, rel=1e-5)
