import pytest
import torch

from lethe import models
from lethe.errors import ConfigError
from tests.small_families import FAMILIES, made
from tests.tiny import tiny_model

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
INPUTS = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_of_a_block_is_the_hidden_state_after_it_in_every_family(family):
    model = made(family)
    # The last of these has gone through the norm before the head; the one before has not.
    expected = model(**INPUTS, use_cache=False, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(models.block_output(model, 0, **INPUTS), expected, rtol=0, atol=0)


def test_the_forward_ends_at_the_block_and_leaves_the_model_as_it_was():
    model = tiny_model()
    before = model(**INPUTS, use_cache=False).logits
    ran = []
    watch = model.model.layers[1].register_forward_hook(lambda *_: ran.append(1))
    models.block_output(model, 0, **INPUTS)
    assert ran == []
    watch.remove()
    assert torch.equal(model(**INPUTS, use_cache=False).logits, before)
    assert not any(block._forward_hooks for block in model.model.layers)


def test_a_block_that_does_not_exist_is_an_error_in_one_line():
    with pytest.raises(ConfigError, match=r"^layer 7: the model's blocks are numbered 0 to 1; name one of them\.$"):
        models.block_output(tiny_model(), 7, **INPUTS)
