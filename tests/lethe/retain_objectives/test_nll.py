import math

import pytest

from lethe.losses import Context
from lethe.retain_objectives import nll
from tests.encoded import collated, examples
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model

NOTHING = Context(reference=None, seed=0)


def test_worked_example():
    # −(log 1/2 + log 1/8 + log 1/4) / 3 = 2 log 2
    batch = answers(1, 2)
    model = assigning(batch, [1 / 2, 1 / 8, 1 / 4])
    assert nll.loss(model, batch, nll.Config(), NOTHING).item() == pytest.approx(2 * math.log(2), rel=1e-6)


def test_it_is_the_loss_of_transformers_on_masked_labels():
    model = tiny_model()
    rows = examples([("who?", "nobody at all"), ("where was it found?", "here")])
    batch = collated(rows)
    labels = batch.input_ids.clone()
    for row, example in enumerate(rows):
        labels[row, : len(example.ids) - example.num_targets] = -100
        labels[row, len(example.ids) :] = -100
    expected = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss.item()
    assert nll.loss(model, batch, nll.Config(), NOTHING).item() == pytest.approx(expected, rel=1e-6)
