import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lethe.optimizers import sign_momentum


def stepped(weight, gradients, **changes):
    """The weight after one step for each gradient."""
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0} | changes
    parameter = nn.Parameter(torch.tensor([weight]))
    optimizer = sign_momentum.build([parameter], sign_momentum.Config(**settings))
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.item()


@given(gradient=st.floats(1e-20, 1e20), sign=st.sampled_from([-1.0, 1.0]))
def test_a_step_is_lr_whatever_the_size_of_the_gradient(gradient, sign):
    assert stepped(1.0, [sign * gradient]) == pytest.approx(1 - sign * 0.01)


def test_the_momentum_decides_and_not_the_last_gradient():
    # m = 0.1 × 4 = 0.4, then 0.36 − 0.1 = 0.26 > 0: down twice. With gradient −5: 0.36 − 0.5 < 0: down and up.
    assert stepped(1.0, [4.0, -1.0]) == pytest.approx(0.98)
    assert stepped(1.0, [4.0, -5.0]) == pytest.approx(1.0)


def test_without_memory_it_is_the_sign_of_the_gradient():
    assert stepped(1.0, [4.0, -1.0], momentum=0.0) == pytest.approx(1.0)


@given(weight=st.floats(-8, 8, width=32), gradients=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4))
def test_no_weight_moves_further_than_lr_and_its_decay(weight, gradients):
    before, after = (stepped(weight, found, weight_decay=0.1) for found in (gradients[:-1], gradients))
    assert abs(after - before) <= 0.01 * (1 + 0.1 * abs(before)) + 1e-6


def test_a_weight_that_never_had_a_gradient_only_decays():
    assert stepped(2.0, [0.0], weight_decay=0.1) == pytest.approx(2 * (1 - 0.001))
