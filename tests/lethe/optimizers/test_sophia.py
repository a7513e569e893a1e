import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from lethe.moments import Probe
from lethe.optimizers import sign_momentum, sophia
from tests.convex import Course, Regression

VECTORS = arrays.arrays("float32", 5, elements=st.floats(-8, 8, width=32)).map(torch.from_numpy)


def settings(**changes):
    numbers = {"lr": 0.01, "betas": (0.9, 0.95), "hessian_scale": 0.04, "eps": 1e-12, "weight_decay": 0.0}
    return sophia.Config(**{**numbers, "hessian_steps": 10} | changes)


class Walk:
    """A parameter under Sophia, with gradients and label gradients given from outside."""

    def __init__(self, weights, config, count=8):
        self.parameter, self.asked = nn.Parameter(weights.clone()), []
        self.optimizer = sophia.build([self.parameter], config)
        probe = Probe([self.parameter], lambda step: 0.0, self._sampled)
        self.count, self.gradients = count, sophia.gradients(self._plain, probe, self.optimizer)

    def step(self, number, gradient, sampled):
        self.gradient, self.sampled = gradient, sampled
        numbers = self.gradients(number)
        self.optimizer.step()
        return numbers

    def _plain(self, step):
        self.parameter.grad = self.gradient.clone()
        return {}

    def _sampled(self, step):
        self.asked.append(step)
        return [self.sampled.clone()], self.count


def test_the_first_step_by_hand():
    # m = 0.1 g; H = 0.05 × 8 × ĝ² = 0.4 ĝ²; γ H = 0.016 ĝ².
    # g = (1, 1, −1), ĝ = (5, 1, 2): γ H = (0.4, 0.016, 0.064), m / γ H = (0.25, 6.25, −1.5625), clipped (0.25, 1, −1).
    walk = Walk(torch.zeros(3), settings())
    numbers = walk.step(0, torch.tensor([1.0, 1.0, -1.0]), torch.tensor([5.0, 1.0, 2.0]))
    assert walk.parameter.tolist() == pytest.approx([-0.0025, -0.01, 0.01])
    assert numbers["unclipped_fraction"] == pytest.approx(1 / 3)


def test_eps_is_the_least_that_a_momentum_is_divided_by_and_is_not_added():
    # γ H = (0.4, 0.016) as above; with ε = 0.2 the momentum 0.1 is divided by (0.4, 0.2).
    walk = Walk(torch.zeros(2), settings(eps=0.2))
    numbers = walk.step(0, torch.ones(2), torch.tensor([5.0, 1.0]))
    assert walk.parameter.tolist() == pytest.approx([-0.01 * 0.25, -0.01 * 0.5])
    assert numbers["unclipped_fraction"] == 1


def test_the_curvature_is_looked_at_every_so_many_steps():
    walk = Walk(torch.zeros(1), settings(hessian_steps=3))
    for step in range(7):
        walk.step(step, torch.ones(1), torch.ones(1))
    assert walk.asked == [0, 3, 6]
    # H: 0.05 × 8, then 0.95 H + 0.4, twice.
    assert walk.optimizer.state[walk.parameter]["curvature"].item() == pytest.approx(0.4 * (1 + 0.95 + 0.95**2))


@given(weights=VECTORS, gradient=VECTORS, sampled=VECTORS, decay=st.sampled_from([0.0, 0.1]))
def test_no_weight_moves_further_than_lr_and_its_decay(weights, gradient, sampled, decay):
    walk = Walk(weights, settings(weight_decay=decay))
    for step in range(3):
        before = walk.parameter.detach().clone()
        walk.step(step, gradient, sampled)
        assert torch.all((walk.parameter - before).abs() <= 0.01 * (1 + decay * before.abs()) + 1e-6)


@given(weights=VECTORS, gradient=VECTORS, sampled=VECTORS)
def test_a_step_never_goes_up_the_momentum_and_the_curvature_is_never_negative(weights, gradient, sampled):
    walk = Walk(weights, settings())
    walk.step(0, gradient, sampled)
    state = walk.optimizer.state[walk.parameter]
    moved = walk.parameter.detach() - weights
    assert torch.all(moved * state["momentum"] <= 0)
    assert torch.all(state["curvature"] >= 0)


@given(weights=VECTORS, gradients=st.lists(VECTORS, min_size=1, max_size=4), sampled=VECTORS)
def test_with_a_curvature_that_counts_for_nothing_it_is_sign_momentum(weights, gradients, sampled):
    gradients = [gradient + 9 for gradient in gradients]  # none so near to zero that eps is felt
    walk = Walk(weights, settings(hessian_scale=1e-20, weight_decay=0.1))
    twin = nn.Parameter(weights.clone())
    control = sign_momentum.build([twin], sign_momentum.Config(lr=0.01, momentum=0.9, weight_decay=0.1))
    for step, gradient in enumerate(gradients):
        walk.step(step, gradient, sampled)
        twin.grad = gradient.clone()
        control.step()
    assert torch.equal(walk.parameter, twin)


def test_the_estimate_of_the_curvature_is_on_average_the_diagonal_of_the_hessian():
    # For softmax regression Gauss-Newton is the Hessian: Σ x² p (1 − p) / B, to B ĝ² of labels drawn from p.
    model = Regression()
    probabilities = model.log_probs().detach().exp()
    expected = model.features.square().T @ (probabilities * (1 - probabilities)) / len(model.labels)
    torch.manual_seed(0)
    drawn = [model.sampled_gradient(0) for _ in range(4000)]
    found = torch.stack([count * gradients[0].square() for gradients, count in drawn]).mean(0)
    torch.testing.assert_close(found, expected.detach(), rtol=0.1, atol=0.0)


def test_looking_at_the_curvature_leaves_the_gradient_of_the_step_alone():
    model, twin = Regression(), Regression()
    course = Course(model, sophia, settings(hessian_steps=1))
    course.run(0, 1)
    twin.plain(0)
    assert torch.equal(model.matrix.grad, twin.matrix.grad)
