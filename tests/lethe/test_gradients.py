import math

import pytest
import torch

from lethe import gradients
from lethe.batches import Example
from tests.encoded import collated, examples
from tests.logit_table import assigning
from tests.tiny import tiny_model

PAIRS = [("who is she?", "a weaver of nets"), ("where?", "at sea")]


def by_backward(model, example):
    """The gradient that a training step on this example alone would see, as one vector in fp64."""
    batch = collated([example])
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.predicts]
    model.zero_grad()
    torch.nn.functional.cross_entropy(logits, batch.targets).backward()
    norm = torch.cat([parameter.grad.double().flatten() for parameter in model.parameters()]).norm()
    model.zero_grad(set_to_none=True)
    return float(norm)


@pytest.mark.parametrize("example", examples(PAIRS), ids=lambda example: example.row)
def test_the_norm_is_that_of_the_whole_gradient_of_the_mean(example):
    model = tiny_model()
    assert gradients.norm(model, example, pad=0) == pytest.approx(by_backward(model, example), rel=1e-5)


def test_the_norm_of_a_worked_example():
    # Two targets with p = 1/2 and 1/4 among five words. The gradient of -ln p with regard to the logits is p_v - [v is
    # the target]: for 1/2 that is -1/2 and four times 1/8, squared 1/4 + 4/64; for 1/4 it is -3/4 and four times 3/16,
    # squared 9/16 + 36/256. The mean over two targets halves both.
    example = Example("a", (0, 1, 2, 3), 2, ends_turn=True)
    model = assigning(collated([example]), [1 / 2, 1 / 4])
    model.device = torch.device("cpu")
    expected = math.sqrt((1 / 4 + 4 / 64 + 9 / 16 + 36 / 256) / 4)
    assert gradients.norm(model, example, pad=0) == pytest.approx(expected, rel=1e-6)


def test_nothing_is_left_behind():
    model = tiny_model()
    gradients.norm(model, examples(PAIRS)[0], pad=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_the_same_example_has_the_same_norm_after_others():
    model, (first, second) = tiny_model(), examples(PAIRS)
    norm = gradients.norm(model, first, pad=0)
    gradients.norm(model, second, pad=0)
    assert gradients.norm(model, first, pad=0) == norm
