import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import batches
from lethe.batches import Example
from lethe.forget_objectives import undial
from lethe.losses import Context
from tests.logit_table import LogitTable, answers, saying

THREE = batches.collate([Example("row", (1, 2, 0), 1, True)], pad=0)  # one target, token 0


def loss_of(model, reference, batch, beta):
    return undial.loss(model, batch, undial.Config(beta=beta), Context(reference=reference, seed=0))


def test_worked_example():
    # z = [2, 1, 0], y = 0, β = 3: the teacher is softmax([−1, 1, 0]) = [0.090031, 0.665241, 0.244728].
    model, reference = (saying(THREE, [[2.0, 1.0, 0.0]]) for _ in range(2))
    loss = loss_of(model, reference, THREE, 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(1.562304, abs=1e-6)
    teacher = torch.tensor([0.090031, 0.665241, 0.244728])
    student = torch.tensor([2.0, 1.0, 0.0]).softmax(-1)
    torch.testing.assert_close(model.logits.grad[0, 1], student - teacher, rtol=0, atol=1e-6)


def test_without_a_penalty_there_is_nothing_to_learn_at_the_reference():
    model, reference = (saying(THREE, [[2.0, 1.0, 0.0]]) for _ in range(2))
    loss_of(model, reference, THREE, 0.0).backward()
    torch.testing.assert_close(model.logits.grad, torch.zeros_like(model.logits), rtol=0, atol=1e-7)


@given(beta=st.floats(0.1, 30), seed=st.integers(0, 100))
def test_the_gradient_sums_to_zero_and_pulls_the_target_down(beta, seed):
    batch = answers(2, 1)
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(seed))
    model = LogitTable(logits.clone(), batch.input_ids)
    loss_of(model, LogitTable(logits, batch.input_ids), batch, beta).backward()
    gradients = model.logits.grad[batch.predicts]
    torch.testing.assert_close(gradients.sum(-1), torch.zeros(3), rtol=0, atol=1e-6)
    at_targets = gradients.gather(1, batch.targets.unsqueeze(1))
    assert torch.all(at_targets > 0)
    assert torch.all(gradients.scatter(1, batch.targets.unsqueeze(1), 0.0) <= 0)


def test_a_large_penalty_leaves_the_odds_of_the_others_and_nothing_for_the_target():
    # The others of [2, 1, 0] without the first: e / (e + 1) and 1 / (e + 1); the loss is their cross-entropy.
    model, reference = (saying(THREE, [[2.0, 1.0, 0.0]]) for _ in range(2))
    log_probs = torch.tensor([2.0, 1.0, 0.0]).log_softmax(-1)
    expected = -(math.e * log_probs[1] + log_probs[2]) / (math.e + 1)
    assert loss_of(model, reference, THREE, 100.0).item() == pytest.approx(expected.item(), rel=1e-6)
