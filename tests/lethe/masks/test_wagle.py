import torch
from torch import nn

from lethe.masks import wagle


def scores_of_three(mu, fraction):
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
    signals = {
        "forget_gradient": {"weight": torch.tensor([[2.0, -1.0, 1.0]])},
        "retain_gradient": {"weight": torch.tensor([[1.0, 1.0, 2.0]])},
    }
    found = wagle.select(model, wagle.Config(mu=mu, fraction=fraction), signals)["weight"]
    return found if isinstance(found, bool) else found.tolist()


def test_the_score_weighs_the_weight_against_the_retain_gradient():
    # μ = 1: |(1 − 1) 2| = 0, |(2 − 1)(−1)| = 1, |(3 − 2) 1| = 1
    assert scores_of_three(1.0, 1 / 3) == [[False, True, True]]
    # μ = 0.5: |(1 − 2) 2| = 2, |(2 − 2)(−1)| = 0, |(3 − 4) 1| = 1
    assert scores_of_three(0.5, 1 / 3) == [[True, False, False]]
    # μ large: |θ g_f| = 2, 2, 3
    assert scores_of_three(1e6, 1 / 3) == [[False, False, True]]


def test_the_whole_fraction_is_everything():
    assert scores_of_three(1.0, 1.0) is True
