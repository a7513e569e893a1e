import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import batches
from lethe.batches import Example
from lethe.forget_objectives import margin
from lethe.losses import Context
from tests.logit_table import saying

NOTHING = Context(reference=None, seed=0)
TWO = batches.collate([Example("row", (1, 2, 0, 1), 2, True)], pad=0)  # two targets among three tokens


def loss_of(logits):
    return margin.loss(saying(TWO, logits), TWO, margin.Config(), NOTHING).item()


def test_worked_example():
    # Largest minus mean: 3 − 1 and 0 − (−1); squared and averaged (4 + 1) / 2.
    assert loss_of([[3.0, 1.0, -1.0], [0.0, 0.0, -3.0]]) == pytest.approx(2.5, rel=1e-6)


@given(constant=st.floats(-20, 20))
def test_it_is_zero_where_no_token_stands_out(constant):
    assert loss_of([[constant] * 3] * 2) == pytest.approx(0, abs=1e-10)


@given(constant=st.floats(-20, 20))
def test_a_constant_on_all_logits_changes_nothing(constant):
    plain, moved = [2.0, -1.0, 0.5], [2.0 + constant, -1.0 + constant, 0.5 + constant]
    assert loss_of([moved] * 2) == pytest.approx(loss_of([plain] * 2), rel=1e-4)


def test_it_presses_on_the_largest_logit_whether_it_is_the_true_one_or_not():
    # d/dz of (max − mean)²: 2 × 2 × (1 − 1/3) on the largest, 2 × 2 × (−1/3) on the others; half of it for each token.
    model = saying(TWO, [[3.0, 1.0, -1.0], [3.0, 1.0, -1.0]])
    margin.loss(model, TWO, margin.Config(), NOTHING).backward()
    expected = torch.tensor([4 * 2 / 3, -4 / 3, -4 / 3]) / 2
    torch.testing.assert_close(model.logits.grad[TWO.predicts], expected.expand(2, 3))
