import torch

from lethe.wrappers import gradient_penalty
from tests.lethe.wrappers import slopes


def test_its_gradient_is_the_slope_of_loss_and_penalty():
    model, config = slopes.network(), gradient_penalty.Config(weight=0.3)
    here = slopes.vector(model)
    gradient_penalty.backward(slopes.pieces(model), model, config, slopes.context())

    def penalised(weights):
        return slopes.loss_at(weights) + 0.3 * slopes.gradient_at(weights).square().sum().item()

    torch.testing.assert_close(slopes.gradients(model), slopes.slope(penalised, here), rtol=1e-6, atol=1e-7)


def test_both_passes_draw_the_same_dropout():
    model = torch.nn.Sequential(slopes.network(), torch.nn.Dropout(0.5)).double()
    piece = slopes.pieces(model)[0]
    torch.manual_seed(3)
    gradient_penalty.backward([piece], model, gradient_penalty.Config(weight=0.3), slopes.context())
    found = slopes.gradients(model)
    torch.manual_seed(3)
    loss, parameters = piece(), list(model.parameters())
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    penalty = sum(part.square().sum() for part in gradient)
    expected = torch.autograd.grad(loss + 0.3 * penalty, parameters)
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in expected]))


def test_on_a_parabola():
    # L = (θ₁² + 4 θ₂²) / 2 at (3, 1): ∇L = (3, 4), H = diag(1, 4); with λ = 0.1 it is (3 + 0.2·3, 4 + 0.2·16).
    theta = torch.nn.Parameter(torch.tensor([3.0, 1.0]))
    model = torch.nn.ParameterList([theta])
    piece = lambda: (theta[0] ** 2 + 4 * theta[1] ** 2) / 2  # noqa: E731
    assert gradient_penalty.backward([piece], model, gradient_penalty.Config(weight=0.1), slopes.context()) == 6.5
    torch.testing.assert_close(theta.grad, torch.tensor([3.6, 7.2]))
