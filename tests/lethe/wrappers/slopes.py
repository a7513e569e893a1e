"""A small smooth model in fp64, so that finite differences tell whether a gradient is right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lethe.losses import Context

STEP = 1e-3


def network() -> nn.Sequential:
    """Two linear layers, a tanh between them; the weights are large enough to bend it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def pieces(model: nn.Module) -> list[Callable[[], Tensor]]:
    """Three losses of one row each."""
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [lambda row=row: (model(row) ** 3 - model(row)).tanh().sum() for row in rows]


def context(step: int = 0) -> Context:
    return Context(None, seed=0, step=step)


def vector(model: nn.Module) -> Tensor:
    """All weights as one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def gradients(model: nn.Module) -> Tensor:
    """What stands in ``parameter.grad``, as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def loss_at(weights: Tensor) -> float:
    """The sum of the pieces at these weights."""
    model = network()
    nn.utils.vector_to_parameters(weights, model.parameters())
    return sum(piece().item() for piece in pieces(model))


def gradient_at(weights: Tensor) -> Tensor:
    """The gradient of the sum of the pieces at these weights."""
    model = network()
    nn.utils.vector_to_parameters(weights, model.parameters())
    sum(piece() for piece in pieces(model)).backward()
    return gradients(model)


def slope(function: Callable[[Tensor], float], weights: Tensor) -> Tensor:
    """The gradient of a function of all weights, by central differences of fourth order (their error is STEP⁴)."""

    def along(direction: Tensor) -> float:
        near, far = (function(weights + k * direction) - function(weights - k * direction) for k in (STEP, 2 * STEP))
        return (8 * near - far) / (12 * STEP)

    return torch.tensor([along(direction) for direction in torch.eye(len(weights), dtype=weights.dtype)]).to(weights)
