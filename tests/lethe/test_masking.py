import torch

from lethe import masking


def test_a_choice_that_is_the_same_everywhere_needs_no_tensor():
    assert masking.whole(torch.ones(2, 3, dtype=torch.bool)) is True
    assert masking.whole(torch.zeros(2, 1, dtype=torch.bool)) is False
    mixed = torch.tensor([True, False])
    assert masking.whole(mixed) is mixed
