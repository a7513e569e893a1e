import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lethe.forget_objectives import flat
from lethe.losses import Context
from tests.logit_table import answers, assigning

NOTHING = Context(reference=None, seed=0)
DIVERGENCES = get_args(flat.Divergence)


def config(divergence, draws=1):
    return flat.Config(divergence=divergence, substitute={"kind": "refusal", "candidates": 3, "draws": draws})


def loss_and_weights(divergence, other, true):
    """The loss at P_e and P_f, and its slopes −dL/dP_e and dL/dP_f, for answers of one token."""
    batch = answers(1, draws=1)
    model = assigning(batch, [true, other])
    loss = flat.loss(model, batch, config(divergence), NOTHING)
    loss.backward()
    targets = (batch.targets.item(), batch.substitute.targets.item())
    slopes = [model.logits.grad[row, 1, target].item() for row, target in enumerate(targets)]
    # The target's own logit moves its probability by p (1 − p).
    weights = [slope / (p * (1 - p)) for slope, p in zip(slopes, (true, other), strict=True)]
    return loss.item(), -weights[1], weights[0]


@pytest.mark.parametrize(
    ("divergence", "loss", "other", "true"),
    [
        ("kl", 0.804837, 1, 0.904837),
        ("jensen_shannon", 0.499256, 0.475021, 0.710950),
        ("total_variation", 0.308315, 0.495033, 0.243459),
        ("pearson", 1.002500, 1, 1.45),
        ("jeffreys", 0.9 + 0.81 / 4 + 0.729 / 16 - 0.1, 1, 1 + 0.45 + 3 * 0.81 / 16),
        ("reverse_kl", 0.804837, 0.904837, 1),  # −1 + 0.9 + e^−0.1
        ("squared_hellinger", 1.364441, 0.904837, 2.459603),  # e^0.9 − 1 − (1 − e^−0.1)
        ("neyman", 0.629581, 0.904837, 0.637628),  # 2 − 2 e^−0.45 − (1 − e^−0.1)
    ],
)
def test_worked_examples_at_one_tenth_and_nine_tenths(divergence, loss, other, true):
    found = loss_and_weights(divergence, 0.1, 0.9)
    assert found == (pytest.approx(loss, abs=2e-6), pytest.approx(other, abs=1e-5), pytest.approx(true, abs=1e-5))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@given(other=st.floats(0.001, 0.999), true=st.floats(0.001, 0.999))
def test_every_divergence_pulls_the_other_answer_up_and_the_true_one_down(divergence, other, true):
    _, up, down = loss_and_weights(divergence, other, true)
    assert up > 0
    assert down > 0


@given(probability=st.floats(0.01, 0.99))
def test_between_equal_answers_the_divergence_gains_nothing(probability):
    # e^(P − 1) − P: at least 0, and 0 where both are certain. The two slopes leave e^(P − 1) − 1, which is below 0.
    loss, up, down = loss_and_weights("kl", probability, probability)
    assert loss >= 0
    assert down - up == pytest.approx(math.expm1(probability - 1), abs=1e-3)


def test_the_fit_is_the_mean_probability_of_target_tokens_whatever_the_padding():
    # Answers of 1 and 3 tokens: P_f = 0.8 and (0.2 + 0.4 + 0.6) / 3; all tokens of the others 0.5.
    # Pearson: P_f² / 4 + P_f − P_e.
    batch = answers(1, 3, draws=1)
    model = assigning(batch, [0.8, 0.2, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5])
    expected = ((0.16 + 0.8 - 0.5) + (0.04 + 0.4 - 0.5)) / 2
    assert flat.loss(model, batch, config("pearson"), NOTHING).item() == pytest.approx(expected, rel=1e-5)


def test_there_is_one_other_answer_for_a_question():
    with pytest.raises(ValidationError, match="draws"):
        config("kl", draws=2)
