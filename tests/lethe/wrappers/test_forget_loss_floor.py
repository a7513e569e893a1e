import pytest
import torch
from torch import nn

from lethe.wrappers import forget_loss_floor
from tests.lethe.wrappers import slopes


@pytest.mark.parametrize(("floor", "gradient"), [(4.9, 6.0), (5.0, 6.0), (5.1, 1.0)])
def test_below_the_floor_only_what_was_there_is_left(floor, gradient):
    # Two pieces, 2 θ and 3 θ at θ = 1: their sum is 5, its slope 5, beside the 1 that was there.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    model.weight.grad = torch.ones(1, 1)
    pieces = [lambda: 2 * model.weight.sum(), lambda: 3 * model.weight.sum()]
    config = forget_loss_floor.Config(floor=floor)
    assert forget_loss_floor.backward(pieces, model, config, slopes.context()) == 5
    assert model.weight.grad.item() == gradient
