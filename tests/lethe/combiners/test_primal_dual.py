import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.combiners import primal_dual
from lethe.moments import Moment

LOSSES = st.lists(st.floats(0, 4, width=32), min_size=1, max_size=12)


def weights_met(losses, *, forget_weight=1.0, start=1.0, bound=0.5, step_size=2.0, warmup=0, update=1):
    """λ of each step, read off a retain gradient of 1 beside a forget gradient of 10."""
    config = primal_dual.Config(
        forget_weight=forget_weight,
        retain_weight=start,
        retain_loss_bound=bound,
        dual_step_size=step_size,
        warmup_steps=warmup,
        update_steps=update,
    )
    memory: dict[str, torch.Tensor] = {}
    met = []
    for step, loss in enumerate(losses):
        moment = Moment(step, 1.0, loss, memory)
        (found,) = primal_dual.combine([torch.tensor([10.0])], [torch.tensor([1.0])], config, moment)
        met.append(found.item() - 10 * forget_weight)
    return met


def test_worked_example():
    # λ: 1, then 1 + 2 (1.0 − 0.5) = 2, then 2 + 2 (0.75 − 0.5) = 2.5, then max(0, 2.5 + 2 (−1 × 0.5)) = 1.5
    assert weights_met([1.0, 0.75, 0.0, 9.0]) == pytest.approx([1, 2, 2.5, 1.5], abs=1e-5)


def test_it_never_falls_below_zero():
    assert weights_met([0.0, 0.0, 0.0], step_size=5.0) == pytest.approx([1, 0, 0], abs=1e-5)


def test_in_the_warm_up_it_stays_where_it_starts():
    # The first move is after the third step, by its own loss alone: 1 + 2 (1 − 0.5).
    assert weights_met([4.0, 4.0, 1.0, 0.0], warmup=2) == pytest.approx([1, 1, 1, 2], abs=1e-5)


def test_it_moves_every_so_many_steps_by_their_mean():
    # 1 + 2 ((1 + 2) / 2 − 0.5) = 3 after the second step
    assert weights_met([1.0, 2.0, 7.0], update=2) == pytest.approx([1, 1, 3], abs=1e-5)


@given(losses=LOSSES, update=st.integers(1, 3))
def test_it_does_not_fall_while_the_bound_is_broken(losses, update):
    met = weights_met([0.5 + loss for loss in losses], update=update)
    assert all(later >= earlier - 1e-4 for earlier, later in itertools.pairwise(met))


@given(losses=LOSSES)
def test_it_does_not_rise_while_the_bound_is_kept(losses):
    met = weights_met([loss / 8 for loss in losses])
    assert all(0 <= later + 1e-5 <= earlier + 2e-5 for earlier, later in itertools.pairwise(met))


def test_the_forget_gradient_keeps_its_own_weight():
    assert weights_met([1.0], forget_weight=0.5, start=3.0) == pytest.approx([3], abs=1e-5)


def test_its_first_window_begins_after_the_warm_up():
    whole = weights_met([1.0, 2.0, 3.0, 0.0, 1.0], update=2, warmup=1)
    # λ after one warm-up step: steps 2 and 3 move it by 2 ((2 + 3) / 2 − 0.5) = 4, steps 4 and 5 come after.
    assert whole == pytest.approx([1, 1, 1, 5, 5], abs=1e-5)
