import math

import pytest
import torch

from lethe.forget_objectives import controlled_ascent, grad_ascent
from lethe.losses import Context
from tests.logit_table import answers, assigning, saying

NOTHING = Context(reference=None, seed=0)
FIVE = [0.4, 0.9, 0.05, 0.5, 0.2]


def config(fraction=1.0, floor=0.0, temperature=1.0):
    return controlled_ascent.Config(
        token_keep_fraction=fraction, token_probability_floor=floor, forget_temperature=temperature
    )


def loss_of(batch, probabilities, settings):
    return controlled_ascent.loss(assigning(batch, probabilities), batch, settings, NOTHING).item()


def mean_log(*probabilities):
    return sum(map(math.log, probabilities)) / len(probabilities)


def test_without_controls_it_is_gradient_ascent_on_a_sequence():
    batch = answers(5)
    model = assigning(batch, FIVE)
    found = controlled_ascent.loss(model, batch, config(), NOTHING)
    expected = grad_ascent.loss(model, batch, grad_ascent.Config(), NOTHING)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("fraction", "kept"),
    [(0.8, [0.9, 0.5, 0.4, 0.2]), (0.5, [0.9, 0.5, 0.4]), (0.2, [0.9]), (0.01, [0.9])],  # rounded up
)
def test_the_likeliest_tokens_of_a_sequence_are_kept(fraction, kept):
    assert loss_of(answers(5), FIVE, config(fraction=fraction)) == pytest.approx(mean_log(*kept), rel=1e-5)


def test_the_share_is_that_of_each_sequence_by_itself():
    # Half of 2 tokens and half of 4: log 0.2 from the one, log 0.9 and log 0.8 from the other.
    found = loss_of(answers(2, 4), [0.1, 0.2, 0.9, 0.3, 0.8, 0.7], config(fraction=0.5))
    assert found == pytest.approx((mean_log(0.2) + mean_log(0.9, 0.8)) / 2, rel=1e-5)


def test_a_share_that_is_a_whole_number_is_not_rounded_beyond_it():
    # 0.07 × 100 is 7.000000000000001 in floating point.
    found = loss_of(answers(100), [0.5] * 93 + [0.9] * 7, config(fraction=0.07))
    assert found == pytest.approx(math.log(0.9), rel=1e-4)


def test_tokens_below_the_floor_are_left_out():
    assert loss_of(answers(5), FIVE, config(floor=0.3)) == pytest.approx(mean_log(0.9, 0.5, 0.4), rel=1e-5)
    assert loss_of(answers(5), FIVE, config(floor=0.95)) == 0


def test_what_is_left_out_gets_no_gradient():
    batch = answers(5)
    model = assigning(batch, FIVE)
    controlled_ascent.loss(model, batch, config(fraction=0.8, floor=0.3), NOTHING).backward()
    reached = (model.logits.grad.abs().sum(-1) > 0)[batch.predicts]
    assert reached.tolist() == [probability >= 0.3 for probability in FIVE]


def test_the_temperature_divides_the_logits():
    # Logits 2, 0, 0, 0, 0 at temperature 2: e / (e + 4); without it e² / (e² + 4). The target is token 2.
    batch = answers(1)
    model = saying(batch, [[0.0, 0.0, 2.0, 0.0, 0.0]])
    found = controlled_ascent.loss(model, batch, config(temperature=2.0), NOTHING)
    found.backward()
    assert found.item() == pytest.approx(math.log(math.e / (math.e + 4)), rel=1e-6)
    # One half of the slope of the distribution at that temperature.
    assert model.logits.grad[0, 1, 2].item() == pytest.approx((1 - math.e / (math.e + 4)) / 2, rel=1e-5)
    assert torch.all(model.logits.grad[0, 1, [0, 1, 3, 4]] < 0)
