import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.combiners import mgda
from tests.gradient_pairs import GRADIENTS, dot, fixture, norm
from tests.moments import moment


def combine(forget, retain, *, forget_weight=1.0, retain_weight=1.0):
    config = mgda.Config(forget_weight=forget_weight, retain_weight=retain_weight)
    return mgda.combine([tensor.clone() for tensor in forget], list(retain), config, moment())


def test_worked_example():
    # w = (31 + 3) / (30 + 6 + 31) = 34/67 = 0.507463
    expected = [1.492537, -0.522388, 1.029851, 2.462687, 2.029851]
    assert torch.cat(combine(*fixture())).tolist() == pytest.approx(expected, abs=1e-6)


@given(gradients=GRADIENTS, share=st.floats(0, 1))
def test_no_point_of_the_segment_is_nearer_to_zero(gradients, share):
    forget, retain = gradients
    found = combine(forget, retain)
    assert norm(found) <= norm(share * forget + (1 - share) * retain) * (1 + 1e-5)


@given(gradients=GRADIENTS)
def test_the_step_goes_down_both_losses(gradients):
    forget, retain = gradients
    found = combine(forget, retain)
    square, error = dot(found, found), 1e-4 * norm(forget) * norm(retain)
    assert dot(found, forget) >= square - error
    assert dot(found, retain) >= square - error


def test_inside_the_segment_it_goes_down_both_losses_alike():
    forget, retain = fixture()
    found = combine(forget, retain)
    assert dot(found, forget) == pytest.approx(dot(found, found), rel=1e-5)
    assert dot(found, retain) == pytest.approx(dot(found, found), rel=1e-5)


@given(gradients=GRADIENTS)
def test_the_two_tasks_are_treated_alike(gradients):
    forget, retain = gradients
    torch.testing.assert_close(
        torch.stack(combine(forget, retain)), torch.stack(combine(retain, forget)), rtol=1e-4, atol=1e-4
    )


def test_a_gradient_that_points_along_a_shorter_one_gets_no_share():
    # ⟨g_f, g_r⟩ = 2 > ‖g_r‖² = 1: the nearest point is g_r itself.
    found = combine([torch.tensor([2.0, 5.0])], [torch.tensor([1.0, 0.0])])
    assert torch.cat(found).tolist() == [1, 0]


def test_equal_gradients_share_evenly():
    gradient = [torch.tensor([1.0, -2.0])]
    assert torch.cat(combine(gradient, gradient, forget_weight=2.0, retain_weight=0.0)).tolist() == [1, -2]


def test_the_weights_multiply_the_shares():
    # Orthogonal and equally long: half of each.
    pair = [torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 1.0])]
    assert torch.cat(combine(*pair, forget_weight=4.0, retain_weight=6.0)).tolist() == [2, 3]
