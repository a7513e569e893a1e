import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import models
from lethe.losses import Context
from lethe.retain_objectives import kl
from tests.encoded import collated, examples
from tests.logit_table import LogitTable, answers, assigning
from tests.tiny import tiny_model

LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4)


def divergence(current, reference, batch):
    return kl.loss(current, batch, kl.Config(), Context(reference=reference, seed=0))


def table(batch, logits):
    shape = (*batch.input_ids.shape, len(logits))
    return LogitTable(torch.tensor(logits).expand(shape).clone())


def test_it_is_the_forward_divergence_from_the_reference():
    # p_ref = (1/2, 1/2), p = (1/4, 3/4): ½ log 2 + ½ log 2/3 = ½ log 4/3; the reverse would be ¼ log ½ + ¾ log 3/2.
    batch = answers(1, vocabulary=2)
    loss = divergence(assigning(batch, [1 / 4], vocabulary=2), assigning(batch, [1 / 2], vocabulary=2), batch).item()
    assert loss == pytest.approx(math.log(4 / 3) / 2, rel=1e-6)
    assert loss != pytest.approx(math.log(1 / 2) / 4 + 3 / 4 * math.log(3 / 2), rel=1e-2)


def test_it_averages_over_target_positions_of_the_whole_batch():
    # One position of three differs, by ½ log 4/3.
    batch = answers(1, 2, vocabulary=2)
    reference = assigning(batch, [1 / 2, 1 / 2, 1 / 2], vocabulary=2)
    loss = divergence(assigning(batch, [1 / 2, 1 / 4, 1 / 2], vocabulary=2), reference, batch).item()
    assert loss == pytest.approx(math.log(4 / 3) / 6, rel=1e-5)


@given(current=LOGITS, reference=LOGITS)
def test_it_is_never_negative(current, reference):
    batch = answers(2, vocabulary=4)
    assert divergence(table(batch, current), table(batch, reference), batch).item() >= -1e-6


@given(current=LOGITS, reference=LOGITS)
def test_its_gradient_moves_mass_towards_the_reference(current, reference):
    # d KL / d logits = p − p_ref at every target position, divided by their number (2).
    batch = answers(2, vocabulary=4)
    model = table(batch, current)
    divergence(model, table(batch, reference), batch).backward()
    expected = (torch.tensor(current).softmax(0) - torch.tensor(reference).softmax(0)) / 2
    torch.testing.assert_close(model.logits.grad[batch.predicts], expected.expand(2, 4), rtol=1e-4, atol=1e-6)


def test_at_the_reference_loss_and_gradient_are_zero_and_away_from_it_they_are_not():
    model = tiny_model()
    reference = models.frozen_copy(model)
    batch = collated(examples([("who?", "nobody")]))
    divergence(model, reference, batch).backward()
    assert divergence(model, reference, batch).item() == 0
    assert max(parameter.grad.abs().max().item() for parameter in model.parameters()) < 1e-6
    other = tiny_model(seed=1)
    divergence(other, reference, batch).backward()
    assert max(parameter.grad.abs().max().item() for parameter in other.parameters()) > 1e-4
