import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.forget_objectives import grad_ascent, satimp
from lethe.losses import Context
from tests.encoded import collated, examples
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model

NOTHING = Context(reference=None, seed=0)


def weight(probability, beta1, beta2):
    """The weight of a target of this probability: its pull on its own logit over that of gradient ascent, 1 − p."""
    batch = answers(1)
    model = assigning(batch, [probability])
    satimp.loss(model, batch, satimp.Config(beta1=beta1, beta2=beta2), NOTHING).backward()
    return model.logits.grad[0, 1, batch.targets.item()].item() / (1 - probability)


def test_without_weights_it_is_gradient_ascent():
    batch = collated(examples([("who?", "a weaver"), ("where?", "at sea")]))
    gradients = []
    for objective, config in ((satimp, satimp.Config(beta1=0.0, beta2=0.0)), (grad_ascent, grad_ascent.Config())):
        model = tiny_model()
        objective.loss(model, batch, config, NOTHING).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_worked_example():
    assert weight(0.5, 5.0, 1.0) == pytest.approx(1 / 2**5 * 1 / 2, rel=1e-5)
    assert weight(0.2, 1.0, 2.0) == pytest.approx(0.2 * 0.8**2, rel=1e-5)


@given(probability=st.floats(0.001, 0.999))
def test_at_the_published_powers_it_pulls_most_at_five_sixths(probability):
    assert weight(probability, 5.0, 1.0) <= weight(5 / 6, 5.0, 1.0) * (1 + 1e-5)


def test_it_lets_go_of_what_is_forgotten_and_of_what_is_certain():
    assert weight(1e-3, 5.0, 1.0) < 1e-14
    assert weight(0.999, 5.0, 1.0) < 1.01e-3
