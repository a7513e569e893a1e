from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from lethe import stepping

SETTINGS = SimpleNamespace(lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
VECTORS = arrays.arrays("float32", 4, elements=st.floats(-8, 8, width=32, allow_subnormal=False)).map(torch.from_numpy)


@given(weights=VECTORS, gradients=st.lists(VECTORS, min_size=1, max_size=5))
def test_adamw_is_that_of_torch(weights, gradients):
    mine, theirs = nn.Parameter(weights.clone()), nn.Parameter(weights.clone())
    both = (
        stepping.Optimizer([mine], SETTINGS, stepping.adamw),
        torch.optim.AdamW([theirs], **vars(SETTINGS)),
    )
    for gradient in gradients:
        for parameter, optimizer in zip((mine, theirs), both, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_memories_with_different_prefixes_do_not_know_each_other():
    parameter, state = nn.Parameter(torch.zeros(1)), {}
    with torch.no_grad():
        stepping.adamw(parameter, torch.ones(1), state, 0.01, SETTINGS, "first_")
        stepping.adamw(parameter, -torch.ones(1), state, 0.01, SETTINGS, "other_")
    assert state["first_exp_avg"].item() == pytest.approx(0.1)
    assert state["other_exp_avg"].item() == pytest.approx(-0.1)
    assert state["first_step"].item() == state["other_step"].item() == 1


def test_the_numbers_of_a_step_tell_what_is_measured_after_it():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = stepping.Optimizer([parameter], SETTINGS, lambda parameter, *_: parameter.add_(1))

    def plain(step):
        parameter.grad = torch.ones(1)
        return {"step": step}

    compute = stepping.telling(plain, optimizer, "place", lambda: parameter.item())
    told = []
    for step in range(2):
        told.append(compute(step))
        optimizer.step()
    assert told == [{"step": 0, "place": 1.0}, {"step": 1, "place": 2.0}]
