import pytest
import torch
from torch import nn

from lethe import finite_differences
from lethe.moments import Probe
from tests.convex import Regression, Watched


def slope_of(parameters, loss, *, seed=0, radius=0.1, directions=1):
    """The numbers of an estimate, and the gradient that it leaves, as one vector."""
    torch.manual_seed(seed)
    probe = Probe(parameters, loss, lambda step: ([], 0))
    numbers = finite_differences.estimate(probe, 0, radius=radius, directions=directions)
    return numbers, torch.cat([parameter.grad.flatten() for parameter in parameters])


def linear(weights):
    """Two parameters with a loss that is linear in them, whose gradient is ``weights``."""
    parameters = [nn.Parameter(torch.tensor([0.3, -2.0])), nn.Parameter(torch.tensor([[7.0]]))]

    def loss(step):
        return torch.dot(torch.cat([parameter.flatten() for parameter in parameters]).double(), weights).item()

    return parameters, loss


def test_of_a_linear_loss_it_is_the_gradient_along_one_direction():
    # u ⟨u, g⟩: its length is ⟨u, g⟩, so ⟨estimate, g⟩ = ‖estimate‖².
    weights = torch.tensor([1.0, -3.0, 2.0], dtype=torch.float64)
    _, found = slope_of(*linear(weights))
    assert torch.dot(found.double(), weights).item() == pytest.approx(found.square().sum().item(), rel=1e-4)
    assert found.norm() <= weights.norm()


def test_on_average_it_is_the_gradient_over_the_number_of_weights():
    # E u uᵀ = 1/3 on the sphere of three dimensions.
    weights = torch.tensor([1.0, -3.0, 2.0], dtype=torch.float64)
    _, found = slope_of(*linear(weights), directions=1500)
    assert found.tolist() == pytest.approx([1 / 3, -1, 2 / 3], abs=0.1)


@pytest.mark.parametrize("radius", [1e-3, 1.0, 1e4])
def test_every_weight_is_put_back_bit_for_bit(radius):
    model = Regression()
    before = [parameter.detach().clone() for parameter in model.moved()]
    slope_of(model.moved(), model.loss, radius=radius, directions=3)
    assert all(torch.equal(*pair) for pair in zip(before, model.moved(), strict=True))


def test_all_weights_together_move_by_the_radius():
    model = Watched()
    slope_of(model.moved(), model.loss, radius=0.5, directions=2)
    assert model.lengths == pytest.approx([0.5] * 4, rel=1e-5)


def test_all_passes_of_a_step_draw_the_same_and_another_step_draws_otherwise():
    model, drawn = Regression(), []

    def loss(step):
        drawn.append(torch.rand(()).item())
        return 0.0

    slope_of(model.moved(), loss, directions=2)
    assert len(set(drawn)) == 1
    slope_of(model.moved(), loss, seed=1)
    assert len(set(drawn)) == 2


def test_it_tells_the_mean_of_the_losses_that_it_met():
    parameters, loss = linear(torch.tensor([1.0, -3.0, 2.0], dtype=torch.float64))
    numbers, _ = slope_of(parameters, loss, directions=3)
    assert numbers == {"weighted_loss": pytest.approx(0.3 + 6 + 14, rel=1e-5)}  # the two sides cancel


def test_a_parameter_that_may_not_move_gets_no_gradient():
    model = Regression()
    model.bias.requires_grad_(False)
    torch.manual_seed(0)
    probe = Probe([model.matrix, model.bias], model.loss, model.sampled_gradient)
    finite_differences.estimate(probe, 0, radius=0.1, directions=1)
    assert model.bias.grad is None
    assert model.matrix.grad is not None
