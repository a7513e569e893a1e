import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import models
from lethe.losses import Context
from lethe.retain_objectives import reverse_kl
from tests.encoded import collated, examples
from tests.logit_table import LogitTable, answers, assigning
from tests.tiny import tiny_model

LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4)


def divergence(current, reference, batch, form="divergence"):
    return reverse_kl.loss(current, batch, reverse_kl.Config(form=form), Context(reference=reference, seed=0))


def table(batch, logits):
    shape = (*batch.input_ids.shape, len(logits))
    return LogitTable(torch.tensor(logits).expand(shape).clone())


def test_it_is_the_divergence_from_the_model_to_the_reference():
    # p = (1/4, 3/4), p_ref = (1/2, 1/2): ¼ log ½ + ¾ log 3/2
    batch = answers(1, vocabulary=2)
    model, reference = (assigning(batch, [share], vocabulary=2) for share in (1 / 4, 1 / 2))
    expected = math.log(1 / 2) / 4 + 3 / 4 * math.log(3 / 2)
    assert divergence(model, reference, batch).item() == pytest.approx(expected, rel=1e-6)
    # The release's part alone: −¼ log ½ − ¾ log ½ = log 2
    assert divergence(model, reference, batch, "soul_release").item() == pytest.approx(math.log(2), rel=1e-6)


def test_it_averages_over_target_positions_of_the_whole_batch():
    # One position of three differs, by ¼ log ½ + ¾ log 3/2.
    batch = answers(1, 2, vocabulary=2)
    reference = assigning(batch, [1 / 2, 1 / 2, 1 / 2], vocabulary=2)
    found = divergence(assigning(batch, [1 / 2, 1 / 4, 1 / 2], vocabulary=2), reference, batch).item()
    assert found == pytest.approx((math.log(1 / 2) / 4 + 3 / 4 * math.log(3 / 2)) / 3, rel=1e-5)


@given(current=LOGITS, reference=LOGITS)
def test_it_is_never_negative_and_the_release_adds_the_entropy_of_the_model(current, reference):
    batch = answers(2, vocabulary=4)
    found = divergence(table(batch, current), table(batch, reference), batch).item()
    entropy = torch.distributions.Categorical(logits=torch.tensor(current)).entropy().item()
    release = divergence(table(batch, current), table(batch, reference), batch, "soul_release").item()
    assert found >= -1e-6
    assert release == pytest.approx(found + entropy, abs=1e-4)


def test_at_the_reference_the_divergence_is_zero_without_gradient_and_the_release_is_not():
    model = tiny_model()
    reference = models.frozen_copy(model)
    batch = collated(examples([("who?", "nobody")]))
    loss = divergence(model, reference, batch)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert max(parameter.grad.abs().max().item() for parameter in model.parameters()) < 1e-6
    divergence(model, reference, batch, "soul_release").backward()
    assert max(parameter.grad.abs().max().item() for parameter in model.parameters()) > 1e-4


@given(current=LOGITS, reference=LOGITS)
def test_the_gradient_is_that_of_its_definition(current, reference):
    # d KL(p ‖ q) / d z_v = p_v (log p_v − log q_v − KL), divided by the number of positions (2).
    batch = answers(2, vocabulary=4)
    model = table(batch, current)
    divergence(model, table(batch, reference), batch).backward()
    p, q = torch.tensor(current).double().softmax(0), torch.tensor(reference).double().softmax(0)
    terms = p.log() - q.log()
    expected = (p * (terms - (p * terms).sum()) / 2).float()
    torch.testing.assert_close(model.logits.grad[batch.predicts], expected.expand(2, 4), rtol=1e-4, atol=1e-5)
