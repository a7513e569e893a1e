import pytest
import torch

from lethe import losses
from lethe.forget_objectives import adaptive_rmu, rmu
from lethe.losses import Context
from tests.encoded import collated, examples
from tests.tiny import tiny_model

BATCH = collated(examples([("who?", "a weaver of nets"), ("where?", "at sea")]))


def loss_of(model, reference, *, layer=1, scale=5.0):
    config = adaptive_rmu.Config(layer=layer, scale=scale)
    return adaptive_rmu.loss(model, BATCH, config, Context(reference=reference, seed=3))


def streams(model, layer):
    with torch.no_grad():
        return losses.block_outputs(model, BATCH, layer)


@pytest.mark.parametrize("layer", [0, 1])
def test_each_place_is_sent_as_many_times_as_far_as_its_stream_was_long(layer):
    model, reference = tiny_model(0), tiny_model(1)
    direction = losses.steering_direction(32, seed=3)
    distances = [
        ((now - 5.0 * before.norm() * direction) ** 2).mean()
        for now, before in zip(streams(model, layer), streams(reference, layer), strict=True)
    ]
    assert loss_of(model, reference, layer=layer).item() == pytest.approx(
        torch.stack(distances).mean().item(), rel=1e-5
    )


def test_where_all_streams_were_equally_long_it_is_rmu():
    reference = tiny_model(1)
    one = collated(examples([("who?", "")]))  # the end of turn alone is a target
    assert len(one.targets) == 1
    with torch.no_grad():
        length = losses.block_outputs(reference, one, 1).norm().item()
    plain = rmu.loss(tiny_model(), one, rmu.Config(layer=1, coefficient=2 * length), Context(None, seed=0))
    adaptive = adaptive_rmu.Config(layer=1, scale=2.0)
    found = adaptive_rmu.loss(tiny_model(), one, adaptive, Context(reference, seed=0))
    assert found.item() == pytest.approx(plain.item(), rel=1e-6)


def test_the_reference_gets_no_gradient():
    model, reference = tiny_model(0), tiny_model(1)
    loss_of(model, reference).backward()
    assert all(parameter.grad is None for parameter in reference.parameters())
