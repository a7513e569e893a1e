import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import batches
from lethe.batches import Example
from lethe.forget_objectives import max_entropy
from lethe.losses import Context
from tests.logit_table import saying

NOTHING = Context(reference=None, seed=0)
BATCH = batches.collate([Example("row", (1, 2, 0), 1, True)], pad=0)
both_directions = pytest.mark.parametrize("direction", ["forward", "reverse"])


def loss_of(probabilities, direction):
    model = saying(BATCH, [[math.log(p) for p in probabilities]])
    return max_entropy.loss(model, BATCH, max_entropy.Config(direction=direction), NOTHING).item()


def test_worked_examples():
    # p = [1/2, 1/4, 1/4]. Reverse: log 3 − (½ log 2 + ½ log 4); forward: −log 3 + (log 2 + 2 log 4) / 3.
    assert loss_of([0.5, 0.25, 0.25], "reverse") == pytest.approx(math.log(3) - 1.5 * math.log(2), abs=1e-6)
    assert loss_of([0.5, 0.25, 0.25], "forward") == pytest.approx(5 / 3 * math.log(2) - math.log(3), abs=1e-6)


@both_directions
def test_it_is_zero_where_all_tokens_are_equally_likely(direction):
    assert loss_of([1 / 3] * 3, direction) == pytest.approx(0, abs=1e-6)


@both_directions
@given(logits=st.lists(st.floats(-8, 8), min_size=3, max_size=3))
def test_it_is_never_negative(direction, logits):
    assert loss_of(torch.tensor(logits).softmax(-1).tolist(), direction) >= -1e-6


def test_only_the_reverse_divergence_is_bounded():
    certain = [1 - 2e-12, 1e-12, 1e-12]
    assert loss_of(certain, "reverse") == pytest.approx(math.log(3), rel=1e-5)
    assert loss_of(certain, "forward") > 15  # −log 3 + 2/3 × 27.6


@both_directions
def test_it_does_not_ask_which_token_is_the_true_one(direction):
    other = batches.collate([Example("row", (1, 2, 1), 1, True)], pad=0)
    values = [
        max_entropy.loss(saying(one, [[1.0, 0.0, -1.0]]), one, max_entropy.Config(direction=direction), NOTHING)
        for one in (BATCH, other)
    ]
    assert values[0] == values[1]
