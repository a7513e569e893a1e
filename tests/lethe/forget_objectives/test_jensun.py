import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lethe.forget_objectives import jensun
from lethe.losses import Context
from tests.logit_table import answers, assigning

NOTHING = Context(reference=None, seed=0)
CONFIG = jensun.Config(substitute={"kind": "refusal", "candidates": 3, "draws": 1})


def loss_of(*probabilities):
    """The loss for a refusal of tokens with these probabilities."""
    batch = answers(len(probabilities), draws=1)
    model = assigning(batch, [0.5] * len(probabilities) + list(probabilities))
    return jensun.loss(model, batch, CONFIG, NOTHING).item()


def divergence(p, q):
    """½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2, term by term."""
    terms = [(a, (a + b) / 2) for a, b in zip(p, q, strict=True)] + [
        (b, (a + b) / 2) for a, b in zip(p, q, strict=True)
    ]
    return sum(a * math.log(a / middle) for a, middle in terms if a > 0) / 2


def test_worked_example():
    # p = 1/2: log 2 + ½ (½ log ½ − 3/2 log 3/2)
    assert loss_of(0.5) == pytest.approx(0.215762, abs=1e-6)


@given(probability=st.floats(1e-4, 1 - 1e-4))
def test_it_is_the_jensen_shannon_divergence_from_certainty(probability):
    rest = (1 - probability) / 4
    expected = divergence([probability, rest, rest, rest, rest], [1, 0, 0, 0, 0])
    assert loss_of(probability) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_it_lies_between_zero_and_log_two():
    assert loss_of(1 - 1e-7) == pytest.approx(0, abs=1e-6)
    assert loss_of(1e-12) == pytest.approx(math.log(2), rel=1e-6)


def test_it_is_a_mean_over_the_tokens_of_a_refusal():
    assert loss_of(0.5, 0.25) == pytest.approx((loss_of(0.5) + loss_of(0.25)) / 2, rel=1e-5)


def test_every_refusal_counts_the_same_whatever_its_length():
    batch = answers(1, 2, draws=1)
    model = assigning(batch, [0.5] * 3 + [0.5, 0.25, 0.25])
    expected = (loss_of(0.5) + loss_of(0.25)) / 2
    assert jensun.loss(model, batch, CONFIG, NOTHING).item() == pytest.approx(expected, rel=1e-5)


def test_nothing_but_refusals_is_taught():
    with pytest.raises(ValidationError, match="'refusal'"):
        jensun.Config(substitute={"kind": "alternate", "candidates": 3, "draws": 1})
