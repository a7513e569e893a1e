import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lethe import losses
from lethe.forget_objectives import dpo
from lethe.losses import Context
from tests.logit_table import answers, assigning

NOTHING = Context(reference=None, seed=0)


def config(beta, draws=1):
    return dpo.Config(beta=beta, substitute={"kind": "refusal", "candidates": 3, "draws": draws})


def pair(delta_other, delta_true):
    """A model, and one question whose answers' log-probabilities lie so far above the reference."""
    batch = answers(2, draws=1)
    model = assigning(batch, [0.5, 0.4, 0.3, 0.2])
    known = [
        (losses.sequence_sums(losses.target_log_probs(model, one), one) - delta).detach().requires_grad_()
        for one, delta in ((batch.substitute, delta_other), (batch, delta_true))
    ]
    other = replace(batch.substitute, reference_log_probs=known[0])
    return model, replace(batch, reference_log_probs=known[1], substitute=other)


@pytest.mark.parametrize(
    ("delta_other", "delta_true", "loss"),
    [  # 4 log(1 + e^(−(Δ_e − Δ_f) / 2)) at β = 1/2
        (0, 0, 4 * math.log(2)),
        (1, -1, 4 * math.log1p(math.exp(-1))),
        (-3, 1, 4 * math.log1p(math.exp(2))),
    ],
)
def test_worked_examples(delta_other, delta_true, loss):
    model, batch = pair(delta_other, delta_true)
    assert dpo.loss(model, batch, config(0.5), NOTHING).item() == pytest.approx(loss, rel=1e-5)


@given(beta=st.floats(1e-2, 10))
def test_at_the_reference_the_loss_is_two_over_beta_log_two_and_its_slope_one(beta):
    model, batch = pair(0, 0)
    loss = dpo.loss(model, batch, config(beta), NOTHING)
    loss.backward()
    assert loss.item() == pytest.approx(2 / beta * math.log(2), rel=1e-5)
    assert batch.substitute.reference_log_probs.grad.item() == pytest.approx(1, rel=1e-5)  # −d/dΔ(y_e)
    assert batch.reference_log_probs.grad.item() == pytest.approx(-1, rel=1e-5)


def test_changing_sides_turns_the_first_gradient_round():
    model, batch = pair(0, 0)
    swapped = replace(batch.substitute, substitute=replace(batch, substitute=None))
    gradients = []
    for one in (batch, swapped):
        model.zero_grad()
        dpo.loss(model, one, config(0.1), NOTHING).backward()
        gradients.append(model.logits.grad.clone())
    torch.testing.assert_close(gradients[0], -gradients[1])


def test_one_answer_is_preferred_for_a_question():
    with pytest.raises(ValidationError, match="draws"):
        config(0.1, draws=2)
