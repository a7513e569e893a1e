import pytest
import torch
from torch import nn

from lethe import heads
from tests.small_families import (
    FAMILIES,
    made,
    mistral_with_a_narrow_window,
    modernbert_with_a_layer_before_its_head,
    recurrent_gemma_with_capped_logits,
)
from tests.tiny import tiny_model

ODD = [
    mistral_with_a_narrow_window,
    modernbert_with_a_layer_before_its_head,
    recurrent_gemma_with_capped_logits,
]
IDS = {"input_ids": torch.tensor([[5, 9, 3, 7, 7], [8, 2, 6, 0, 0]])}

families = pytest.mark.parametrize("family", [*FAMILIES, *ODD], ids=lambda family: family.__name__)


@families
@torch.no_grad()
def test_hidden_states_and_the_head_give_the_logits_of_the_whole_model(family):
    model = made(family)
    expected = model(**IDS, use_cache=False).logits
    hidden, head = heads.hidden_states(model, **IDS), heads.in_fp32(model)
    assert hidden.shape[-1] == model.config.hidden_size
    torch.testing.assert_close(head(hidden.flatten(0, 1)), expected.flatten(0, 1), rtol=1e-6, atol=1e-6)


@families
@torch.no_grad()
def test_the_head_takes_some_positions_as_it_takes_all(family):
    model = made(family)
    hidden, head = heads.hidden_states(model, **IDS).flatten(0, 1), heads.in_fp32(model)
    in_parts = torch.cat([head(part) for part in hidden.split(3)])
    torch.testing.assert_close(in_parts, head(hidden), rtol=1e-6, atol=1e-6)


@families
@torch.no_grad()
def test_the_model_is_left_as_it_was(family):
    model = made(family)
    expected = model(**IDS, use_cache=False).logits
    heads.in_fp32(model)(heads.hidden_states(model, **IDS)[0])
    assert torch.equal(model(**IDS, use_cache=False).logits, expected)
    assert not any("forward" in vars(module) for module in model.modules())


@torch.no_grad()
def test_a_half_precision_model_has_its_logits_in_fp32():
    model = tiny_model().to(torch.bfloat16)
    hidden = heads.hidden_states(model, **IDS)[0]
    # The head's weights and the hidden states are the model's; only their products and sums are exact.
    expected = hidden.double() @ model.lm_head.weight.double().T
    torch.testing.assert_close(heads.in_fp32(model)(hidden).double(), expected, rtol=1e-5, atol=1e-6)


class Unusual(nn.Module):
    """A head that reads more than the last hidden state, which nothing outside can feed."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.base_model, self.lm_head = inner, inner.model, inner.lm_head
        self.device, self.dtype, self.config = inner.device, inner.dtype, inner.config

    def get_decoder(self):
        return self.inner.model

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, input_ids, **inputs):
        output = self.inner(input_ids=input_ids, **inputs)
        output.logits = output.logits + input_ids[..., None]
        return output


@torch.no_grad()
def test_a_head_that_cannot_be_told_apart_is_noticed():
    model = Unusual(tiny_model())
    expected = model(**IDS, use_cache=False).logits
    hidden = heads.hidden_states(model, **IDS)
    assert torch.equal(hidden, expected)
    assert torch.equal(heads.in_fp32(model)(hidden[0]), expected[0])
