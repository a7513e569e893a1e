import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from lethe.moments import Probe
from lethe.optimizers import sign_momentum, sophia_release

VECTORS = arrays.arrays("float32", 5, elements=st.floats(-8, 8, width=32)).map(torch.from_numpy)


def settings(**changes):
    numbers = {"lr": 0.01, "betas": (0.9, 0.95), "rho": 0.04, "batch": 5120.0, "eps": 1e-15, "weight_decay": 0.0}
    return sophia_release.Config(**numbers | changes)


def walk(weights, gradients, **changes):
    """The parameter, what the optimizer remembers of it, and the numbers of each step."""
    parameter = nn.Parameter(weights.clone())
    optimizer = sophia_release.build([parameter], settings(**changes))

    def plain(step):
        parameter.grad = gradients[step].clone()
        return {}

    probe = Probe([parameter], lambda step: 0.0, lambda step: ([], 0))
    compute, told = sophia_release.gradients(plain, probe, optimizer), []
    for step in range(len(gradients)):
        told.append(compute(step))
        optimizer.step()
    return parameter.detach(), optimizer.state[parameter], told


def test_the_first_step_from_nothing():
    # m = (1 − 0.9²) g = 0.19 g, h = 0.05 g², ρ B = 204.8: |m| / (204.8 h) = 0.19 / (10.24 |g|), at most 1.
    # |g| = 0.5, 0.02, 0.001: 0.037109, 0.927734, 1; the threshold is 0.19 / 10.24 = 0.018555.
    weights, state, told = walk(torch.zeros(3), [torch.tensor([0.5, 0.02, -0.001])])
    assert weights.div(-0.01).tolist() == pytest.approx([0.037109, 0.927734, -1], abs=1e-6)
    assert state["momentum"].tolist() == pytest.approx([0.095, 0.0038, -0.00019])
    assert told[0]["unclipped_fraction"] == pytest.approx(2 / 3)
    at_threshold, _, _ = walk(torch.zeros(2), [torch.tensor([0.018554, 0.018556])])
    assert at_threshold[0].item() == pytest.approx(-0.01, abs=1e-9)
    assert at_threshold[1].item() > -0.01


def test_eps_is_added_to_what_the_momentum_is_divided_by():
    # At g = 0.5: m = 0.095, ρ B h = 10.24 × 0.25 = 2.56; with ε = 2.56 that is 0.095 / 5.12.
    weights, _, _ = walk(torch.zeros(1), [torch.tensor([0.5])], eps=2.56)
    assert weights.item() == pytest.approx(-0.01 * 0.095 / 5.12, rel=1e-5)


def test_the_momentum_decays_by_the_square_of_its_beta():
    _, state, _ = walk(torch.zeros(1), [torch.ones(1), torch.zeros(1)])
    assert state["momentum"].item() == pytest.approx(0.19 * 0.81)


def test_in_steady_state_small_gradients_are_clipped():
    # m → g, h → g²: |g| / (204.8 g²) < 1 where |g| > 1/204.8 = 0.00488
    gradient = torch.tensor([0.006, 0.004])
    _, _, told = walk(torch.zeros(2), [gradient] * 300)
    assert told[-1]["unclipped_fraction"] == 0.5


@given(weights=VECTORS, gradients=st.lists(VECTORS, min_size=1, max_size=3), decay=st.sampled_from([0.0, 0.1]))
def test_no_weight_moves_further_than_lr_and_its_decay(weights, gradients, decay):
    matrix = weights.unsqueeze(0)
    rows = [gradient.unsqueeze(0) for gradient in gradients]
    before, _, _ = walk(matrix, rows[:-1], weight_decay=decay) if rows[1:] else (matrix, None, None)
    after, state, _ = walk(matrix, rows, weight_decay=decay)
    assert torch.all((after - before).abs() <= 0.01 * (1 + decay * before.abs()) + 1e-6)
    assert torch.all(state["square"] >= 0)


@given(weights=VECTORS, gradients=st.lists(VECTORS, min_size=1, max_size=4))
def test_with_a_square_that_counts_for_nothing_it_is_sign_momentum_that_decays_twice_as_fast(weights, gradients):
    gradients = [gradient + 9 for gradient in gradients]  # none so near to zero that eps is felt
    found, _, _ = walk(weights.unsqueeze(0), [one.unsqueeze(0) for one in gradients], rho=1e-20, weight_decay=0.1)
    twin = nn.Parameter(weights.unsqueeze(0).clone())
    control = sign_momentum.build([twin], sign_momentum.Config(lr=0.01, momentum=0.81, weight_decay=0.1))
    for gradient in gradients:
        twin.grad = gradient.unsqueeze(0).clone()
        control.step()
    assert torch.equal(found, twin.detach())


def test_only_matrices_decay():
    scale, _, _ = walk(torch.full((2,), 3.0), [torch.zeros(2)], weight_decay=0.1)
    matrix, _, _ = walk(torch.full((1, 2), 3.0), [torch.zeros(1, 2)], weight_decay=0.1)
    assert scale.tolist() == [3, 3]
    assert matrix.flatten().tolist() == pytest.approx([3 * (1 - 0.001)] * 2)
