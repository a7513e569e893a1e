import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.combiners import normalised_difference
from tests.gradient_pairs import GRADIENTS, WEIGHTS, dot, fixture, norm
from tests.moments import moment


def combine(forget, retain, *, forget_weight=1.0, retain_weight=1.0):
    config = normalised_difference.Config(forget_weight=forget_weight, retain_weight=retain_weight)
    return normalised_difference.combine([tensor.clone() for tensor in forget], list(retain), config, moment())


def test_worked_example():
    # g_f / √30 + g_r / √31
    expected = [1 / 30**0.5 + 2 / 31**0.5, -2 / 30**0.5 + 1 / 31**0.5, 3 / 30**0.5 - 1 / 31**0.5]
    expected += [5 / 31**0.5, 4 / 30**0.5]
    assert torch.cat(combine(*fixture())).tolist() == pytest.approx(expected, rel=1e-6)


@given(gradients=GRADIENTS, weight=WEIGHTS)
def test_with_equal_weights_the_step_goes_down_both_losses_by_one_plus_the_cosine(gradients, weight):
    forget, retain = gradients
    found = combine(forget, retain, forget_weight=weight, retain_weight=weight)
    cosine = dot(forget, retain) / (norm(forget) * norm(retain))
    for gradient in (forget, retain):
        expected = weight * (1 + cosine) * norm(gradient)
        assert dot(found, gradient) == pytest.approx(expected, abs=1e-5 * weight * norm(gradient))


@given(gradients=GRADIENTS, forget_scale=st.sampled_from([2.0**-20, 2.0, 2.0**20]), retain_scale=st.just(0.25))
def test_the_scale_of_a_loss_does_not_matter(gradients, forget_scale, retain_scale):
    forget, retain = gradients
    scaled = combine(forget_scale * forget, retain_scale * retain)
    torch.testing.assert_close(torch.stack(scaled), torch.stack(combine(forget, retain)), rtol=1e-5, atol=1e-6)


@given(gradients=GRADIENTS, weight=WEIGHTS)
def test_a_weight_is_the_length_of_its_part(gradients, weight):
    assert norm(combine(*gradients, forget_weight=weight, retain_weight=0.0)) == pytest.approx(weight, rel=1e-5)
    assert norm(combine(*gradients, forget_weight=0.0, retain_weight=weight)) == pytest.approx(weight, rel=1e-5)


def test_a_gradient_of_zero_stays_zero():
    found = combine([torch.zeros(2)], [torch.tensor([3.0, 4.0])], retain_weight=2.0)
    assert torch.cat(found).tolist() == pytest.approx([1.2, 1.6])
