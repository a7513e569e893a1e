import torch

from lethe import masking


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
