import pytest
import torch

from lethe import adapters, masking
from tests.interruption import weights
from tests.small_recipes import component
from tests.tiny import tiny_model


def test_a_choice_that_is_the_same_everywhere_needs_no_tensor():
    assert masking.whole(torch.ones(2, 3, dtype=torch.bool)) is True
    assert masking.whole(torch.zeros(2, 1, dtype=torch.bool)) is False
    mixed = torch.tensor([True, False])
    assert masking.whole(mixed) is mixed


def test_what_a_mask_keeps_of_a_gradient_is_zero_and_what_it_lets_move_whole_is_the_same_tensor():
    model = torch.nn.Linear(2, 1)
    mask = masking.Mask(model, {"weight": torch.tensor([[True, False]]), "bias": True})
    weight, bias = torch.tensor([[3.0, 4.0]]), torch.tensor([5.0])
    assert mask.gated(model.weight, weight).tolist() == [[3.0, 0.0]]
    assert weight.tolist() == [[3.0, 4.0]]
    assert mask.gated(model.bias, bias) is bias
    assert mask.gated(model.weight, None) is None


def test_what_stays_has_no_gradient_in_a_step_and_is_put_back_after_it():
    model = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(model.weight)
    mask = masking.Mask(model, {"weight": torch.tensor([[True, False]]), "bias": True})
    model.weight.grad, model.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([5.0])
    mask.gate()
    assert (model.weight.grad.tolist(), model.bias.grad.tolist()) == ([[3.0, 0.0]], [5.0])
    with torch.no_grad():
        model.weight.add_(1)  # as momentum and weight decay move also what has no gradient
    mask.restore()
    assert model.weight.tolist() == [[2.0, 1.0]]


def test_a_mask_that_is_chosen_anew_forgets_what_it_kept():
    model = torch.nn.Linear(2, 1)
    mask = masking.Mask(model, {"weight": torch.tensor([[True, False]]), "bias": False})
    mask.select(model, {"weight": True, "bias": torch.tensor([False])})
    value = torch.tensor([[3.0, 4.0]])
    assert mask.gated(model.weight, value) is value
    assert mask.gated(model.bias, torch.tensor([5.0])).tolist() == [0.0]
    assert model.bias.requires_grad


@pytest.mark.parametrize("breaks", [False, True])
def test_what_a_mask_changes_of_the_model_is_undone_however_it_ends(breaks):
    model, kept = tiny_model(), {}
    before = weights(model)
    try:
        with masking.entered(model, component("mask", "lora", keep_adapter=True), 0, kept):
            assert adapters.adapted(model)
            assert not kept
            model.requires_grad_(False)
            if breaks:
                raise InterruptedError
    except InterruptedError:
        assert breaks
    assert weights(model) == before  # B is zero
    assert {name.rpartition(".")[2] for name in kept} == {"A", "B", "alpha", "rank"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_mask_that_changes_no_structure_has_nothing_to_undo_or_to_keep():
    model, kept = tiny_model(), {}
    with masking.entered(model, component("mask", "all"), 0, kept):
        model.requires_grad_(False)
    assert kept == {}
    assert all(parameter.requires_grad for parameter in model.parameters())
