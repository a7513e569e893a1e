"""Calling models: target logits, heads and frozen copies."""

import pytest
import torch

from lethe import models
from tests.encoded import collated, examples
from tests.small_families import (
    FAMILIES,
    gemma2_with_capped_logits,
    granite_with_scaled_logits,
    made,
    modernbert_with_a_layer_before_its_head,
    recurrent_gemma_with_capped_logits,
)
from tests.tiny import tiny_model

PAIRS = [("who is she?", "a weaver of nets"), ("where?", "at sea")]

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


@families
def test_target_logits_are_those_of_the_whole_model_and_no_others(family):
    model, batch = made(family), collated(examples(PAIRS))
    with torch.no_grad():
        full = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        found = models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)
    assert found.shape == (len(batch.targets), full.shape[-1])
    torch.testing.assert_close(found, full[batch.predicts], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", [gemma2_with_capped_logits, granite_with_scaled_logits])
def test_these_families_do_bend_their_logits(family):
    model, batch = made(family), collated(examples(PAIRS))
    with torch.no_grad():
        full = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        plain = model.get_output_embeddings()(model.base_model(input_ids=batch.input_ids).last_hidden_state)
    assert (full - plain)[batch.predicts].abs().max() > 0.1


@families
def test_the_gradient_of_target_logits_is_that_of_the_full_logits(family):
    model, batch = made(family), collated(examples(PAIRS))
    gradients = []
    for logits in (
        models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts),
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.predicts],
    ):
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[1].norm()


def test_the_head_runs_at_target_positions_alone():
    model, batch = tiny_model(), collated(examples(PAIRS))
    models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)  # the first looks at the head
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda head, inputs, output: seen.append(output.shape[:-1]))
    models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)
    assert seen == [(len(batch.targets),)]


@pytest.mark.parametrize("family", [recurrent_gemma_with_capped_logits, modernbert_with_a_layer_before_its_head])
def test_target_logits_of_other_heads_are_those_of_the_whole_model_too(family):
    test_target_logits_are_those_of_the_whole_model_and_no_others(family)


@families
def test_a_frozen_copy_says_the_same_shares_nothing_and_takes_no_gradient(family):
    model, batch = made(family), collated(examples(PAIRS))
    model.train()
    twin = models.frozen_copy(model)
    places = {parameter.data_ptr() for parameter in model.parameters()}
    assert not any(parameter.requires_grad or parameter.data_ptr() in places for parameter in twin.parameters())
    assert not twin.training
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    before = twin(**inputs).logits
    with torch.no_grad():
        torch.testing.assert_close(before, model.eval()(**inputs).logits, rtol=0, atol=0)
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(twin(**inputs).logits, before)


def test_a_frozen_copy_keeps_the_dtype():
    assert models.frozen_copy(tiny_model().to(torch.bfloat16)).dtype == torch.bfloat16


@families
def test_a_frozen_twin_says_the_same_of_the_same_weights_and_takes_no_gradient(family):
    model, batch = made(family), collated(examples(PAIRS))
    model.train()
    twin = models.frozen_twin(model)
    pairs = list(zip(model.parameters(), twin.parameters(), strict=True))
    assert all(one.requires_grad and not other.requires_grad for one, other in pairs)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)
    assert model.training
    assert not twin.training
    model.eval().get_input_embeddings().register_forward_hook(
        lambda _, __, output: 2 * output
    )  # as an adapter is put on
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.no_grad():
        assert torch.equal(twin(**inputs).logits, models.frozen_copy(model)(**inputs).logits)
        assert not torch.equal(twin(**inputs).logits, model(**inputs).logits)
