import math

import pytest
import torch
from torch import nn

from lethe.errors import NotFiniteError
from lethe.masks import saliency


class Model(nn.Module):
    """A layer of two rows with a bias, and a vector of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, 1.0], [10.0, 0.0]]))
            self.layer.bias.copy_(torch.tensor([1.0, 1.0]))


GRADIENT = {
    "layer.weight": torch.tensor([[3.0, -4.0], [0.0, 1.0]]),
    "layer.bias": torch.tensor([0.0, -2.0]),
    "norm.weight": torch.tensor([6.0, 0.5]),
}


def select(granularity, kind, value, score="gradient_norm", refresh_steps=None, gradient=GRADIENT):
    config = saliency.Config(
        granularity=granularity,
        score=score,
        threshold={"kind": kind, "value": value},
        refresh_steps=refresh_steps,
    )
    found = saliency.select(Model(), config, {"forget_gradient": gradient})
    return {name: choice if isinstance(choice, bool) else choice.tolist() for name, choice in found.items()}


def test_rows_score_by_their_norm_and_vectors_by_element():
    # Rows of the weight: √(9 + 16) = 5 and 1; bias 0 and 2; norm 6 and 0.5. The three highest of six: 6, 5, 2.
    assert select("row", "top_fraction", 0.5) == {
        "layer.weight": [[True], [False]],
        "layer.bias": [False, True],
        "norm.weight": [True, False],
    }


def test_elements_score_by_themselves():
    # 6, 4, 3, 2, 1, 0.5, 0, 0: the fourth highest is 2
    assert select("element", "top_fraction", 0.5) == {
        "layer.weight": [[True, True], [False, False]],
        "layer.bias": [False, True],
        "norm.weight": [True, False],
    }


def test_a_module_scores_with_weight_and_bias_together():
    # layer: √(9 + 16 + 1 + 4) = 5.48, norm: √(36 + 0.25) = 6.02
    assert select("module", "mean_plus_std", 0.0) == {"layer.weight": False, "layer.bias": False, "norm.weight": True}
    larger_bias = GRADIENT | {"layer.bias": torch.tensor([0.0, -4.0])}  # √(9 + 16 + 1 + 16) = 6.48
    found = select("module", "mean_plus_std", 0.0, gradient=larger_bias)
    assert found == {"layer.weight": True, "layer.bias": True, "norm.weight": False}


def test_weight_times_gradient_scores_what_the_weight_brings():
    # θ ⊙ g: weight [[3, −4], [0, 0]], bias [0, −2], norm (all ones) [6, 0.5]. By the gradient the second row, 1, is
    # before 0.5; by what it brings, 0, it is not.
    for score, second_row in (("gradient_norm", True), ("weight_times_gradient", False)):
        found = select("row", "top_fraction", 4 / 6, score=score)
        assert found["layer.weight"] == (True if second_row else [[True], [False]])
        assert found["norm.weight"] == ([True, False] if second_row else True)
    assert select("element", "top_fraction", 3 / 8, score="weight_times_gradient") == {
        "layer.weight": [[True, True], [False, False]],
        "layer.bias": False,
        "norm.weight": [True, False],
    }


def test_what_moves_or_stays_as_a_whole_is_no_tensor_unless_it_is_chosen_anew():
    assert select("row", "percentile", 0.0) == dict.fromkeys(GRADIENT, True)
    assert select("row", "percentile", 0.0, refresh_steps=3)["layer.weight"] == [[True], [True]]
    assert select("module", "top_fraction", 0.5, refresh_steps=3) == {
        "layer.weight": False,
        "layer.bias": False,
        "norm.weight": True,
    }


@pytest.mark.parametrize("percent", [0, 25, 50, 90, 100])
def test_so_many_percent_of_the_rows_stay(percent):
    torch.manual_seed(0)
    gradient = {"layer.weight": torch.rand(1001, 7)}
    config = saliency.Config(
        granularity="row",
        score="gradient_norm",
        threshold={"kind": "percentile", "value": percent},
        refresh_steps=1,
    )
    found = saliency.select(nn.Module(), config, {"forget_gradient": gradient})
    assert int(found["layer.weight"].sum()) == 1001 - math.ceil(percent * 10)


def test_a_gradient_that_is_not_finite_is_an_error():
    with pytest.raises(NotFiniteError, match=r"^mask: the score of 'layer\.bias' is not finite"):
        select("row", "percentile", 50, gradient=GRADIENT | {"layer.bias": torch.tensor([math.nan, 1.0])})
