import pytest
import torch
from torch import nn

from lethe.wrappers import sam
from tests.lethe.wrappers import slopes


class Point(nn.Module):
    def __init__(self, *values):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(values))


def test_the_gradient_is_that_at_the_steepest_point_nearby():
    # L = (θ₁² + 4 θ₂²) / 2 at (3, 1): gradient (3, 4), norm 5; ρ = 0.5 moves to (3.3, 1.4), where it is (3.3, 5.6).
    model = Point(3.0, 1.0)
    loss = sam.backward(
        [lambda: (model.theta[0] ** 2 + 4 * model.theta[1] ** 2) / 2], model, sam.Config(rho=0.5), slopes.context()
    )
    assert loss == 6.5
    assert model.theta.grad.tolist() == pytest.approx([3.3, 5.6])
    assert model.theta.tolist() == [3, 1]


def test_the_perturbed_gradient_is_that_of_the_model_there():
    model = slopes.network()
    here = slopes.vector(model)
    sam.backward(slopes.pieces(model), model, sam.Config(rho=0.3), slopes.context())
    gradient = slopes.gradient_at(here)
    torch.testing.assert_close(slopes.gradients(model), slopes.gradient_at(here + 0.3 * gradient / gradient.norm()))


def test_where_the_loss_is_flat_nothing_is_moved():
    model = Point(0.0, 0.0)
    assert sam.backward([lambda: (model.theta**2).sum()], model, sam.Config(rho=0.5), slopes.context()) == 0
    assert model.theta.grad.tolist() == [0, 0]
