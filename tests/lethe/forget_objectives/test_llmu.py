import math

import pytest

from lethe.forget_objectives import llmu
from lethe.losses import Context
from tests.logit_table import answers, assigning

NOTHING = Context(reference=None, seed=0)


def loss_of(ascent_weight, mismatch_weight):
    """One answer of probability 1/4 a token, two wrong ones of one token each, 1/2 and 1/8."""
    batch = answers(1, draws=2)
    model = assigning(batch, [1 / 4, 1 / 2, 1 / 8])
    substitute = {"kind": "retain_answer", "candidates": 4, "draws": 2}
    config = llmu.Config(ascent_weight=ascent_weight, mismatch_weight=mismatch_weight, substitute=substitute)
    return llmu.loss(model, batch, config, NOTHING).item()


def test_worked_example_at_the_released_weights():
    # 1 × (1 + 3) / 2 log 2 − ½ × 2 log 2
    assert loss_of(0.5, 1.0) == pytest.approx(math.log(2), rel=1e-6)


def test_each_term_alone():
    assert loss_of(1.0, 0.0) == pytest.approx(-2 * math.log(2), rel=1e-6)
    assert loss_of(0.0, 1.0) == pytest.approx(2 * math.log(2), rel=1e-6)


def test_every_answer_counts_the_same_whatever_its_length():
    # Means of 1 and of 3 tokens: −(1 + 2) log 2 / 2, not −(1 + 3 × 2) log 2 / 4; of the others (1 + 3) log 2 / 2.
    batch = answers(1, 3, draws=1)
    model = assigning(batch, [1 / 2, 1 / 4, 1 / 4, 1 / 4, 1 / 2, 1 / 8, 1 / 8, 1 / 8])
    substitute = {"kind": "forget_answer", "candidates": 1, "draws": 1}
    for ascent, mismatch, expected in ((1.0, 0.0, -1.5), (0.0, 1.0, 2.0)):
        config = llmu.Config(ascent_weight=ascent, mismatch_weight=mismatch, substitute=substitute)
        assert llmu.loss(model, batch, config, NOTHING).item() == pytest.approx(expected * math.log(2), rel=1e-6)
