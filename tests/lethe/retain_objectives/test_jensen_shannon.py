import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import models
from lethe.losses import Context
from lethe.retain_objectives import jensen_shannon
from tests.encoded import collated, examples
from tests.logit_table import LogitTable, answers, assigning
from tests.tiny import tiny_model

LOGITS = st.lists(st.floats(-60, 60, width=32), min_size=4, max_size=4)


def divergence(current, reference, batch):
    return jensen_shannon.loss(current, batch, jensen_shannon.Config(), Context(reference=reference, seed=0))


def table(batch, logits):
    shape = (*batch.input_ids.shape, len(logits))
    return LogitTable(torch.tensor(logits).expand(shape).clone())


def test_worked_example():
    # p = (1/4, 3/4), q = (3/4, 1/4), m = (1/2, 1/2): ½ · 2 · (¼ log ½ + ¾ log 3/2)
    batch = answers(1, vocabulary=2)
    model, reference = (assigning(batch, [share], vocabulary=2) for share in (1 / 4, 3 / 4))
    expected = math.log(1 / 2) / 4 + 3 / 4 * math.log(3 / 2)
    assert divergence(model, reference, batch).item() == pytest.approx(expected, rel=1e-6)


def test_it_averages_over_target_positions_of_the_whole_batch():
    batch = answers(1, 2, vocabulary=2)
    reference = assigning(batch, [1 / 2, 3 / 4, 1 / 2], vocabulary=2)
    found = divergence(assigning(batch, [1 / 2, 1 / 4, 1 / 2], vocabulary=2), reference, batch).item()
    assert found == pytest.approx((math.log(1 / 2) / 4 + 3 / 4 * math.log(3 / 2)) / 3, rel=1e-5)


@given(current=LOGITS, reference=LOGITS)
def test_it_is_symmetric_and_between_zero_and_log_two(current, reference):
    batch = answers(1, vocabulary=4)
    found = divergence(table(batch, current), table(batch, reference), batch).item()
    assert -1e-6 <= found <= math.log(2) + 1e-6
    assert found == pytest.approx(divergence(table(batch, reference), table(batch, current), batch).item(), abs=1e-5)


@given(current=LOGITS, reference=LOGITS)
def test_its_gradient_is_finite_and_bounded(current, reference):
    batch = answers(1, vocabulary=4)
    model = table(batch, current)
    divergence(model, table(batch, reference), batch).backward()
    assert torch.all(model.logits.grad.abs() <= 1)


def test_distributions_that_share_nothing_are_log_two_apart():
    batch = answers(1, vocabulary=2)
    model, reference = table(batch, [60.0, -60.0]), table(batch, [-60.0, 60.0])
    assert divergence(model, reference, batch).item() == pytest.approx(math.log(2), rel=1e-6)


def test_at_the_reference_loss_and_gradient_are_zero():
    model = tiny_model()
    reference = models.frozen_copy(model)
    batch = collated(examples([("who?", "nobody")]))
    loss = divergence(model, reference, batch)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert max(parameter.grad.abs().max().item() for parameter in model.parameters()) < 1e-6
