import pytest
import torch

from lethe import models
from lethe.errors import ConfigError
from lethe.losses import Context
from lethe.retain_objectives import activation_mse
from tests.encoded import collated, examples
from tests.tiny import tiny_model

ROWS = [("who?", "nobody"), ("where was it found?", "here")]


def change(model, reference, batch, layer=0):
    return activation_mse.loss(model, batch, activation_mse.Config(layer=layer), Context(reference=reference, seed=0))


def stream(model, batch, layer):
    """The residual stream after a block, from transformers' own list of hidden states: [batch, time, width]."""
    outputs = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True)
    return outputs.hidden_states[layer + 1]  # the first is the embedding


def test_it_is_the_mean_squared_change_of_the_stream_where_targets_are_predicted():
    model, reference, batch = tiny_model(0), tiny_model(1), collated(examples(ROWS))
    with torch.no_grad():
        difference = (stream(model, batch, 0) - stream(reference, batch, 0))[batch.predicts]
    assert change(model, reference, batch).item() == pytest.approx(difference.square().mean().item(), rel=1e-5)


def test_before_unlearning_loss_and_gradient_are_zero():
    model = tiny_model()
    loss = change(model, models.frozen_copy(model), collated(examples(ROWS)))
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


def test_no_weight_above_the_layer_is_reached_and_every_block_below_is():
    model = tiny_model(0)
    change(model, tiny_model(1), collated(examples(ROWS))).backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[2] for name in reached if ".layers." in name} == {"0"}
    assert not any(name.startswith(("model.norm", "lm_head")) for name in reached)


def test_no_block_above_the_layer_runs():
    model, reference = tiny_model(0), tiny_model(1)
    ran = []
    for twin in (model, reference):
        twin.model.layers[1].register_forward_hook(lambda *_: ran.append(1))
    change(model, reference, collated(examples(ROWS)))
    assert ran == []
    change(model, reference, collated(examples(ROWS)), layer=1)
    assert len(ran) > 0


def test_a_layer_that_the_model_does_not_have_is_named():
    with pytest.raises(ConfigError, match=r"layer 2.*0 to 1"):
        change(tiny_model(0), tiny_model(1), collated(examples(ROWS)), layer=2)
