import pytest
import torch
from hypothesis import given

from lethe.combiners import blur
from tests.gradient_pairs import GRADIENTS, WEIGHTS, dot, fixture, norm
from tests.moments import moment


def combine(forget, retain, *, forget_weight=1.0, retain_weight=1.0, epsilon=1e-10):
    config = blur.Config(forget_weight=forget_weight, retain_weight=retain_weight, epsilon=epsilon)
    return blur.combine([tensor.clone() for tensor in forget], list(retain), config, moment())


def test_worked_example():
    # g_r + 3/30 g_f + g_f = g_r + 1.1 g_f
    assert torch.cat(combine(*fixture())).tolist() == pytest.approx([3.1, -1.2, 2.3, 5.0, 4.4], abs=1e-6)


def test_a_retain_gradient_that_agrees_loses_its_part_too():
    # ⟨g_r, g_f⟩ = 2 and ‖g_f‖² = 1: g_r − 2 g_f = (0, 3), plus g_f.
    found = combine([torch.tensor([1.0, 0.0])], [torch.tensor([2.0, 3.0])])
    assert torch.cat(found).tolist() == pytest.approx([1, 3])


@given(gradients=GRADIENTS)
def test_what_is_left_of_the_retain_gradient_is_orthogonal_to_the_forget_gradient(gradients):
    forget, retain = gradients
    left = combine(forget, retain, forget_weight=0.0)
    assert abs(dot(left, forget)) <= 1e-5 * norm(forget) * norm(retain)


@given(gradients=GRADIENTS, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_the_step_goes_down_the_forget_loss_as_if_there_were_no_retain_loss(gradients, forget_weight, retain_weight):
    forget, retain = gradients
    found = combine(forget, retain, forget_weight=forget_weight, retain_weight=retain_weight)
    expected = forget_weight * dot(forget, forget)
    error = 1e-5 * norm(forget) * (forget_weight * norm(forget) + retain_weight * norm(retain))
    assert dot(found, forget) == pytest.approx(expected, abs=error)


def test_without_a_forget_gradient_the_weighted_retain_gradient_is_left():
    retain = [torch.tensor([1.0, -2.0])]
    assert torch.equal(torch.cat(combine([torch.zeros(2)], retain, retain_weight=2.0)), 2 * retain[0])


def test_epsilon_leaves_part_of_the_retain_gradient_where_the_forget_gradient_is_small():
    # ‖g_f‖² = ε = 1/4: 1 − (1/2) / (1/4 + 1/4) × 1/2 = 1/2
    left = combine([torch.tensor([0.5])], [torch.tensor([1.0])], forget_weight=0.0, epsilon=0.25)
    assert left[0].item() == pytest.approx(0.5)
