import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.forget_objectives import grad_ascent, wga
from lethe.losses import Context
from tests.encoded import collated, examples
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model

NOTHING = Context(reference=None, seed=0)


def pull(probability, beta):
    """How strongly the logit of a target of this probability is pulled down."""
    batch = answers(1)
    model = assigning(batch, [probability])
    wga.loss(model, batch, wga.Config(beta=beta), NOTHING).backward()
    return model.logits.grad[0, 1, batch.targets.item()].item()


def test_at_beta_zero_it_is_gradient_ascent():
    batch = collated(examples([("who?", "a weaver"), ("where?", "at sea")]))
    gradients = []
    for objective, config in ((wga, wga.Config(beta=0.0)), (grad_ascent, grad_ascent.Config())):
        model = tiny_model()
        objective.loss(model, batch, config, NOTHING).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@given(probability=st.floats(0.001, 0.999), beta=st.floats(0, 5))
def test_the_weight_is_a_power_of_the_probability_and_held_fixed(probability, beta):
    # Ascent pulls the logit by 1 − p; the weight p^β adds no slope of its own.
    assert pull(probability, beta) == pytest.approx(probability**beta * (1 - probability), rel=1e-3)


def test_it_averages_over_tokens():
    # (½ log ½ + 3 × ¼ log ¼) / 4 = −(½ + 3 × ½) log 2 / 4
    batch = answers(1, 3)
    model = assigning(batch, [1 / 2, 1 / 4, 1 / 4, 1 / 4])
    found = wga.loss(model, batch, wga.Config(beta=1.0), NOTHING).item()
    assert found == pytest.approx(-math.log(2) / 2, rel=1e-6)


def test_the_pull_dies_out_as_the_token_is_forgotten():
    pulls = [pull(probability, 1.0) for probability in (0.3, 1e-2, 1e-4, 1e-8)]
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[-1] == pytest.approx(1e-8, rel=1e-3)
