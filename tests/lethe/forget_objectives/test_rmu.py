import pytest
import torch

from lethe import losses
from lethe.errors import ConfigError
from lethe.forget_objectives import rmu
from lethe.losses import Context
from tests.encoded import collated, examples
from tests.tiny import tiny_model

ROWS = [("who?", "a weaver of nets"), ("where?", "at sea")]


def loss_of(model, layer=0, coefficient=6.5, seed=0):
    batch = collated(examples(ROWS))
    return rmu.loss(model, batch, rmu.Config(layer=layer, coefficient=coefficient), Context(reference=None, seed=seed))


@pytest.mark.parametrize("layer", [0, 1])
def test_it_is_the_mean_squared_distance_of_the_stream_from_one_point(layer):
    model, batch = tiny_model(), collated(examples(ROWS))
    found = []
    hook = model.model.layers[layer].register_forward_hook(lambda _module, _inputs, output: found.append(output))
    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    hook.remove()
    point = 6.5 * losses.steering_direction(32, seed=3)
    expected = ((found[0][batch.predicts] - point) ** 2).mean()
    assert loss_of(model, layer, seed=3).item() == pytest.approx(expected.item(), rel=1e-6)


def test_no_block_above_the_layer_runs_and_no_weight_above_gets_a_gradient():
    model, ran = tiny_model(), []
    for index, block in enumerate(model.model.layers):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    loss_of(model, layer=0).backward()
    assert ran == [0]
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached
    assert all(name.startswith(("model.embed_tokens", "model.layers.0.")) for name in reached)


def test_the_gradient_in_the_stream_reaches_the_places_that_predict_a_target_alone():
    model, batch, streams = tiny_model(), collated(examples(ROWS)), []

    def watched(_module, _inputs, output):
        output.retain_grad()
        streams.append(output)

    model.model.layers[1].register_forward_hook(watched)
    loss_of(model, layer=1).backward()
    (stream,) = streams
    assert torch.equal(stream.grad.abs().sum(-1) > 0, batch.predicts)


def test_the_point_is_the_same_through_a_run_and_another_in_another():
    first, again, other = (loss_of(tiny_model(), seed=seed).item() for seed in (0, 0, 1))
    assert first == again != other


def test_a_layer_that_the_model_does_not_have_is_a_mistake_of_the_settings():
    with pytest.raises(ConfigError, match=r"layer 2: the model's blocks are numbered 0 to 1"):
        loss_of(tiny_model(), layer=2)


def test_a_mask_that_holds_everything_up_to_the_layer_is_a_mistake_of_the_settings():
    model = tiny_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.1." in name)
    assert loss_of(model, layer=1).requires_grad
    with pytest.raises(ConfigError, match="layer 0: the mask lets no weight up to there move"):
        loss_of(model, layer=0)
