import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lethe import editing, importance
from lethe.edits import ssd
from tests import learnt, small_recipes, unlearned
from tests.copies import Copies
from tests.encoded import collated, examples
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["ssd"]
BUDGET = {"perplexity_ratio": 1.001, "largest": 0.5, "halvings": 12, "bisections": 3, "forget_nll": None}
LOST, KEPT = ([(f"{word} {n}?", letter * 4) for n, letter in enumerate("abcd")] for word in ("lose", "keep"))
FORGET, RETAIN = examples(LOST), examples(KEPT)
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


def config(**changes):
    return ssd.Config(**SETTINGS | changes)


def edited(tmp_path, **changes):
    model = tiny_model()
    given_rows = unlearned.material(model, FORGET, RETAIN, tmp_path)
    return model, ssd.edit(model, given_rows, config(**changes))[0]


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


@pytest.mark.parametrize("changes", [{"alpha": 10.0}, {"fraction": None}, {"search": BUDGET}])
def test_alpha_fraction_and_search_exclude_each_other(changes):
    with pytest.raises(ValueError, match="one of alpha, fraction and search"):
        ssd.Config(**SETTINGS | changes)


def test_the_rule_of_adaptive_ssd(tmp_path):
    # 4 of 8 rows: ln(1 + 50) = 3.93 percent
    _, entry = edited(tmp_path, fraction="forget_share")
    assert entry["selected_fraction"] == pytest.approx(math.log(51) / 100, abs=0.001)


def test_without_labels_no_answer_token_but_the_first_ones_in_the_text_is_looked_at(tmp_path):
    # The last token of a row is a target and stands before none.
    found = []
    for last in (7, 9):
        model = tiny_model()
        rows = [replace(row, ids=(*row.ids[:-1], last)) for row in FORGET]
        ssd.edit(model, unlearned.material(model, rows, RETAIN, tmp_path), config(importance="label_free"))
        found.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*found)
    labelled, _ = edited(tmp_path)
    assert not torch.equal(found[0], torch.nn.utils.parameters_to_vector(labelled.parameters()))


def test_the_importance_without_labels_is_the_size_of_the_gradient_of_the_squared_norm(tmp_path):
    model = tiny_model()
    batch = collated(FORGET[:1])
    logits = model(batch.input_ids, attention_mask=batch.attention_mask).logits[batch.predicts]
    logits.square().sum(-1).mean().backward()
    found = importance.label_free(model, FORGET[:1], batch_size=1, pad=unlearned.PAD)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad.abs(), rtol=1e-4, atol=1e-6)


@pytest.fixture
def searched(tmp_path):
    """The mean NLL of forget and retain rows after a search, and what it tells."""

    def run(**changes):
        model = learnt.knowing(*LOST, *KEPT)
        given_rows = unlearned.material(model, FORGET, RETAIN, tmp_path)
        entry = ssd.edit(model, given_rows, config(fraction=None, search=BUDGET | changes))[0]
        return *nlls(model), entry

    return run


def nlls(model):
    return tuple(editing.mean_nll(model, rows, pad=unlearned.PAD) for rows in (FORGET, RETAIN))


def test_the_search_selects_as_much_as_the_budget_allows(searched):
    _, kept, little = searched(perplexity_ratio=1.005)
    assert little["perplexity_ratio"] == pytest.approx(math.exp(kept - nlls(learnt.knowing(*LOST, *KEPT))[1]), rel=1e-5)
    assert little["perplexity_ratio"] <= 1.005
    _, _, more = searched(perplexity_ratio=2.0)
    assert 1.005 < more["perplexity_ratio"] <= 2.0
    assert 0 < little["selected_fraction"] < more["selected_fraction"]


def test_a_search_that_its_limits_ended_says_so(searched, caplog):
    searched(perplexity_ratio=2.0)
    assert caplog.messages == []
    searched(perplexity_ratio=1e9)
    (told,) = caplog.messages
    assert f"the search ended at search.largest, {BUDGET['largest']:g}, with the perplexity still within" in told


def test_the_search_ends_where_enough_is_forgotten(searched):
    high, _, far = searched(perplexity_ratio=1e9)
    enough = (nlls(learnt.knowing(*LOST, *KEPT))[0] + high) / 2
    found, _, near = searched(perplexity_ratio=1e9, forget_nll=enough)
    assert near["selected_fraction"] < far["selected_fraction"]
    assert enough <= found < high


def test_the_search_for_enough_never_selects_more_than_the_budget_allows(searched):
    # Not enough at 0.03 and enough at 0.04, the largest share: a step of half of 0.03 further would be 0.045.
    bounds = [searched(perplexity_ratio=1e9, largest=share, bisections=1)[0] for share in (0.03, 0.04)]
    assert bounds[0] < bounds[1]
    found = searched(perplexity_ratio=1e9, largest=0.04, bisections=1, forget_nll=sum(bounds) / 2)
    assert found[0] == bounds[1]
    assert found[2]["selected_fraction"] <= 0.04


@pytest.mark.parametrize("kind", ["fisher", "label_free"])
def test_the_search_needs_no_more_memory_than_it_says(kind, tmp_path):
    model = tiny_model()
    given_rows = replace(unlearned.material(model, FORGET, RETAIN, tmp_path), original=tiny_model)
    everything = config(importance=kind, fraction=None, search=BUDGET | {"forget_nll": 1e-3})
    with Copies(model) as copies:
        ssd.edit(model, given_rows, everything)
    assert copies.peak <= ssd.COPIES
