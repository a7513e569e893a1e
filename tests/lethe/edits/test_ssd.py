import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lethe.edits import ssd
from tests import small_recipes, unlearned
from tests.encoded import examples
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["ssd"]
NUMBERS = st.floats(-8, 8, width=32)
POSITIVE = st.floats(2**-20, 8, width=32)
WEIGHTS = arrays.arrays("float32", 9, elements=NUMBERS).map(torch.from_numpy)
IMPORTANCES = arrays.arrays("float32", 9, elements=POSITIVE | st.just(0.0)).map(torch.from_numpy)
SOME = arrays.arrays("float32", 9, elements=POSITIVE).map(torch.from_numpy)
FACTORS = st.floats(0.125, 64, width=32)


def dampened(weight, of_others, of_forget, alpha=10.0, dampening=1.0):
    return ssd.dampened(weight, of_others, of_forget, alpha=alpha, dampening=dampening)


def test_worked_example():
    # I_f > 10 I_D: 2 > 1, 0.5 < 1, 20 > 10, 1 > 0. Shrunk by I_D / I_f = 0.1/2, 1/20 and 0/1.
    weight, of_others = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([0.1, 0.1, 1.0, 0.0])
    found = dampened(weight, of_others, torch.tensor([2.0, 0.5, 20.0, 1.0]))
    assert found.tolist() == pytest.approx([0.05, -2, 0.15, 0])


@given(weight=WEIGHTS, of_others=IMPORTANCES, of_forget=IMPORTANCES, alpha=FACTORS, dampening=FACTORS)
def test_weights_shrink_and_keep_their_sign(weight, of_others, of_forget, alpha, dampening):
    found = dampened(weight, of_others, of_forget, alpha, dampening)
    assert torch.all(found.abs() <= weight.abs())
    assert torch.all(found * weight >= 0)


@given(weight=WEIGHTS, of_others=IMPORTANCES, of_forget=IMPORTANCES, alpha=FACTORS)
def test_what_is_not_selected_keeps_every_bit(weight, of_others, of_forget, alpha):
    found = dampened(weight, of_others, of_forget, alpha)
    selected = of_forget > alpha * of_others
    assert torch.equal(found[~selected], weight[~selected])


@given(weight=WEIGHTS, of_others=IMPORTANCES, of_forget=IMPORTANCES)
def test_at_an_infinite_alpha_or_without_importance_to_forget_nothing_changes(weight, of_others, of_forget):
    assert torch.equal(dampened(weight, of_others.clamp(min=1e-6), of_forget, alpha=math.inf), weight)
    assert torch.equal(dampened(weight, of_others, torch.zeros_like(of_forget)), weight)


@given(weight=WEIGHTS, of_others=SOME, of_forget=IMPORTANCES)
def test_a_dampening_above_every_ratio_changes_nothing(weight, of_others, of_forget):
    largest = float((of_forget / of_others).max())
    assert torch.equal(dampened(weight, of_others, of_forget, dampening=2 * largest + 1), weight)


@given(weight=WEIGHTS, of_others=IMPORTANCES, of_forget=IMPORTANCES, power=st.integers(-6, 6))
def test_scaling_both_importances_changes_nothing(weight, of_others, of_forget, power):
    scaled = dampened(weight, of_others * 2.0**power, of_forget * 2.0**power)
    assert torch.equal(scaled, dampened(weight, of_others, of_forget))


def test_the_floor_is_a_percentile_of_the_positive_entries():
    # Positive entries 1, 2, 3, 4, 5: the 50th percentile is 3.
    importance = torch.tensor([0.0, 5.0, 1.0, 4.0, 2.0, 3.0, 0.0])
    assert ssd.floored(importance, 50.0).tolist() == [3, 5, 3, 4, 3, 3, 3]
    assert ssd.floored(importance, 0.0).tolist() == [1, 5, 1, 4, 2, 3, 1]
    assert ssd.floored(torch.zeros(3), 50.0).tolist() == [0, 0, 0]


def edited(tmp_path, **changes):
    model = tiny_model()
    rows = [examples([(f"{word} {n}?", letter * 4) for n, letter in enumerate("abcd")]) for word in ("lose", "keep")]
    given_rows = unlearned.material(model, *rows, tmp_path)
    return model, ssd.edit(model, given_rows, ssd.Config(**SETTINGS | changes))[0]


@pytest.mark.parametrize("fraction", [0.001, 0.02, 0.5, 1.0])
def test_a_share_selects_that_share_of_what_is_not_skipped(tmp_path, fraction):
    model, entry = edited(tmp_path, fraction=fraction)
    chosen = [item for name, item in model.named_parameters() if "embed" not in name and "norm" not in name]
    total = sum(parameter.numel() for parameter in chosen)
    # The ratios of a tiny model hardly tie; a weight without a gradient on the forget rows is never selected.
    assert entry["selected_fraction"] == pytest.approx(fraction, abs=0.002)
    assert entry["selected_fraction"] <= math.floor(fraction * total) / total


def test_alpha_by_a_share_is_alpha_given(tmp_path):
    by_share, entry = edited(tmp_path, fraction=0.02)
    given_alpha, _ = edited(tmp_path, fraction=None, alpha=entry["alpha"])
    assert all(torch.equal(*pair) for pair in zip(by_share.parameters(), given_alpha.parameters(), strict=True))


def test_a_second_application_shrinks_further(tmp_path):
    rows = [examples([(f"{word} {n}?", letter * 4) for n, letter in enumerate("abcd")]) for word in ("lose", "keep")]
    model = tiny_model()
    given_rows, config = unlearned.material(model, *rows, tmp_path), ssd.Config(**SETTINGS)
    once = [ssd.edit(model, given_rows, config), [item.detach().clone() for item in model.parameters()]][1]
    ssd.edit(model, given_rows, config)
    assert any(not torch.equal(*pair) for pair in zip(once, model.parameters(), strict=True))


@pytest.mark.parametrize("changes", [{"alpha": 10.0}, {"fraction": None}])
def test_alpha_and_fraction_exclude_each_other(changes):
    with pytest.raises(ValueError, match="one of alpha and fraction"):
        ssd.Config(**SETTINGS | changes)
