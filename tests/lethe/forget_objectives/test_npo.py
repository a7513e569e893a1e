import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import losses
from lethe.forget_objectives import npo
from lethe.losses import Context
from tests.encoded import collated, examples
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model

NOTHING = Context(reference=None, seed=0)


def loss_and_weight(delta: float, beta: float, lengths=(1,), reduction="sequence_sum"):
    """The loss when every sequence's log-probability lies ``delta`` above the reference, and dL/dΔ summed over rows."""
    batch = answers(*lengths)
    model = assigning(batch, [0.5] * sum(lengths))
    reference = (losses.sequence_sums(losses.target_log_probs(model, batch), batch) - delta).detach().requires_grad_()
    loss = npo.loss(
        model, replace(batch, reference_log_probs=reference), npo.Config(beta=beta, reduction=reduction), NOTHING
    )
    loss.backward()
    return loss.item(), -reference.grad.sum().item()


@pytest.mark.parametrize(
    ("delta", "loss", "weight"),
    [  # (2/β) log(1 + e^(βΔ)) and 2 / (1 + e^(−βΔ)) at β = 1/10
        (0, 13.862944, 1.0),
        (-10, 6.265234, 0.537883),
        (-50, 0.134307, 0.013386),
        (5, 19.481540, 1.244919),
    ],
)
def test_worked_examples(delta, loss, weight):
    assert loss_and_weight(delta, 0.1) == (pytest.approx(loss, abs=1e-5), pytest.approx(weight, abs=1e-6))


@given(beta=st.floats(1e-3, 10))
def test_at_the_reference_the_loss_is_two_over_beta_log_two(beta):
    loss, weight = loss_and_weight(0, beta)
    assert loss == pytest.approx(2 / beta * math.log(2), rel=1e-6)
    assert weight == pytest.approx(1, rel=1e-6)


@given(delta=st.floats(-80, 80), beta=st.floats(1e-3, 1))
def test_the_loss_is_positive_and_the_weight_lies_between_zero_and_two(delta, beta):
    loss, weight = loss_and_weight(delta, beta)
    assert loss > 0
    # The limit is 2; the products with 2/β, β and σ round in fp32, each by at most one part in 2²⁴.
    assert 0 < weight <= 2 * (1 + 3 * 2**-24) + 2**-23


@given(higher=st.floats(-40, 40), fall=st.floats(0.1, 40))
def test_loss_and_pull_fall_as_the_answer_becomes_less_likely(higher, fall):
    assert loss_and_weight(higher - fall, 0.5) < loss_and_weight(higher, 0.5)


def test_the_sum_weighs_long_answers_and_the_mean_does_not():
    # Δ = −6 on an answer of 3 tokens: the sum sees βΔ = −3, the mean βΔ/T = −1.
    summed, _ = loss_and_weight(-6, 0.5, lengths=(3,), reduction="sequence_sum")
    mean, weight = loss_and_weight(-6, 0.5, lengths=(3,), reduction="sequence_mean")
    assert summed == pytest.approx(4 * math.log1p(math.exp(-3)), rel=1e-5)
    assert mean == pytest.approx(4 * math.log1p(math.exp(-1)), rel=1e-5)
    assert weight == pytest.approx(2 / (1 + math.exp(1)) / 3, rel=1e-5)


def test_the_batch_is_averaged_over_sequences():
    assert loss_and_weight(-3, 0.5, lengths=(1, 4)) == pytest.approx(loss_and_weight(-3, 0.5, lengths=(2,)), rel=1e-5)


def forget_batch(reference, questions=("who?", "where was it?")):
    return collated(examples([(question, f"in {question}") for question in questions], reference))


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def ascent_on_sums(model, batch):
    return losses.sequence_sums(losses.target_log_probs(model, batch), batch).mean()


def test_the_first_gradient_is_gradient_ascent_on_the_summed_log_probability():
    model = tiny_model()
    batch = forget_batch(model)
    found = gradient(model, npo.loss(model, batch, npo.Config(beta=0.3, reduction="sequence_sum"), NOTHING))
    expected = gradient(model, ascent_on_sums(model, batch))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * expected.norm().item())


def test_a_vanishing_beta_is_gradient_ascent_anywhere():
    model = tiny_model(seed=1)
    batch = forget_batch(tiny_model(seed=0))
    found = gradient(model, npo.loss(model, batch, npo.Config(beta=1e-6, reduction="sequence_sum"), NOTHING))
    expected = gradient(model, ascent_on_sums(model, batch))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * expected.norm().item())


def test_for_one_sequence_the_direction_is_always_that_of_gradient_ascent():
    model = tiny_model(seed=1)
    batch = forget_batch(tiny_model(seed=0), questions=("who?",))
    found = gradient(model, npo.loss(model, batch, npo.Config(beta=0.7, reduction="sequence_sum"), NOTHING))
    expected = gradient(model, ascent_on_sums(model, batch))
    assert torch.cosine_similarity(found, expected, dim=0).item() == pytest.approx(1, abs=1e-5)
