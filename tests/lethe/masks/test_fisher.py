import pytest
import torch
from torch import nn

from lethe.masks import fisher

FORGET = {"a": torch.tensor([4.0, 1.0]), "b": torch.tensor([0.0, 1e-9])}
RETAIN = {"a": torch.tensor([1.0, 0.1]), "b": torch.tensor([0.0, 0.0])}


def select(fraction, floor):
    found = fisher.select(
        nn.Module(), fisher.Config(fraction=fraction, floor=floor), {"forget_fisher": FORGET, "retain_fisher": RETAIN}
    )
    return {name: choice if isinstance(choice, bool) else choice.tolist() for name, choice in found.items()}


def test_weights_move_by_the_ratio_and_not_by_their_importance_to_forget():
    # floor 0.1: 4 / 1.1 = 3.6, 1 / 0.2 = 5, 0, 1e-8
    assert select(0.25, 0.1) == {"a": [False, True], "b": False}
    assert select(0.5, 0.1) == {"a": True, "b": False}


def test_the_floor_keeps_noise_over_nothing_from_being_large():
    # floor 1e-12: 1e-9 / 1e-12 = 1000 would be the largest ratio
    assert select(0.25, 1e-12) == {"a": False, "b": [False, True]}


@pytest.mark.parametrize("change", [{"fraction": 0.0}, {"fraction": 1.1}, {"floor": 0.0}])
def test_no_weights_too_many_and_no_floor_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        fisher.Config(**{"fraction": 0.5, "floor": 1e-8} | change)
