import torch

from lethe.wrappers import curvature
from tests.lethe.wrappers import slopes


def test_its_gradient_is_the_slope_of_loss_and_penalty_with_the_direction_held():
    model, config = slopes.network(), curvature.Config(weight=0.7, distance=0.2)
    here = slopes.vector(model)
    step = 0.2 * slopes.gradient_at(here) / slopes.gradient_at(here).norm()
    curvature.backward(slopes.pieces(model), model, config, slopes.context())

    def penalised(weights):
        difference = slopes.gradient_at(weights + step) - slopes.gradient_at(weights)
        return slopes.loss_at(weights) + 0.7 * difference.square().sum().item()

    torch.testing.assert_close(slopes.gradients(model), slopes.slope(penalised, here), rtol=1e-6, atol=1e-7)


def taken(loss, value, **settings):
    theta = torch.nn.Parameter(torch.tensor(value))
    model = torch.nn.ParameterList([theta])
    curvature.backward([lambda: loss(theta)], model, curvature.Config(**settings), slopes.context())
    return theta.grad


def test_on_a_cubic():
    # L = θ³ at 1: gradient 3, so v = 1; at 1 + μ = 2 it is 12, d = 9; H = 6θ, so 3 + 2λ (12 − 6) 9 = 3 + 108 λ.
    torch.testing.assert_close(taken(lambda theta: theta**3, 1.0, weight=0.5, distance=1.0), torch.tensor(57.0))


def test_a_parabola_has_the_same_curvature_everywhere():
    found = taken(lambda theta: (theta[0] ** 2 + 4 * theta[1] ** 2) / 2, [3.0, 1.0], weight=5.0, distance=1.0)
    torch.testing.assert_close(found, torch.tensor([3.0, 4.0]))
