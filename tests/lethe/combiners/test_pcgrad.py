import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lethe.combiners import pcgrad
from lethe.combiners import sum as weighted_sum
from tests.moments import moment

FORGET, RETAIN = [1.0, -2.0, 3.0, 0.0, 4.0], [2.0, 1.0, -1.0, 5.0, 0.0]
NUMBERS = st.floats(-8, 8, width=32, allow_subnormal=False)
WEIGHTS = st.floats(0.01, 8)
#: Two gradients over a few tensors: [forget or retain, tensor, coordinate].
GRADIENTS = arrays.arrays("float32", (2, 3, 4), elements=NUMBERS).map(torch.from_numpy)
#: The same with no tensor near zero, so that ε and the rounding of fp32 are small beside each.
LARGE = GRADIENTS.map(lambda gradients: gradients + torch.tensor([9.0, 0.0, 0.0, 0.0]))


def combine(forget, retain, *, scope="per_tensor", epsilon=1e-10, forget_weight=1.0, retain_weight=1.0):
    config = pcgrad.Config(forget_weight=forget_weight, retain_weight=retain_weight, scope=scope, epsilon=epsilon)
    return pcgrad.combine(
        [tensor.clone() for tensor in forget], [tensor.clone() for tensor in retain], config, moment()
    )


def projected(forget, retain, **settings):
    """The forget gradient after projection: what is left with no weight on the retain gradient."""
    return combine(forget, retain, retain_weight=0.0, **settings)


def dot(left, right):
    return sum(torch.dot(*pair).item() for pair in zip(left, right, strict=True))


def conflicting(forget, retain):
    """The two gradients, turned so that they point against each other as one vector."""
    return (-forget if dot(forget, retain) > 0 else forget), retain


def test_worked_example():
    # ⟨g_f, g_r⟩ = 2 − 2 − 3 = −3 and ‖g_r‖² = 4 + 1 + 1 + 25 = 31: g_f + 3/31 g_r, and that plus g_r.
    forget, retain = torch.tensor(FORGET), torch.tensor(RETAIN)
    left = [1.193548, -1.903226, 2.903226, 0.483871, 4]
    assert projected([forget], [retain])[0].tolist() == pytest.approx(left, abs=1e-6)
    (found,) = combine([forget], [retain])
    assert found.tolist() == pytest.approx([3.193548, -0.903226, 1.903226, 5.483871, 4], abs=1e-6)
    assert torch.cosine_similarity(found, retain, dim=0).item() == pytest.approx(0.714582, abs=1e-6)


@given(gradients=LARGE)
def test_what_is_left_of_a_conflicting_forget_gradient_is_orthogonal_to_the_retain_gradient(gradients):
    forget, retain = conflicting(*gradients)
    for before, left, kept in zip(forget, projected(forget, retain), retain, strict=True):
        if torch.dot(before, kept) < 0:
            assert abs(torch.dot(left, kept)) <= 1e-5 * before.norm() * kept.norm()


@given(gradients=LARGE)
def test_projected_as_one_vector_the_whole_is_orthogonal(gradients):
    forget, retain = conflicting(*gradients)
    left = projected(forget, retain, scope="global")
    assert abs(dot(left, retain)) <= 1e-5 * forget.norm().item() * retain.norm().item()


@given(gradients=GRADIENTS, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_without_conflict_it_is_the_sum(gradients, forget_weight, retain_weight):
    forget, retain = gradients[0], gradients[1]
    agreeing = [torch.where(torch.dot(*pair) < 0, -pair[0], pair[0]) for pair in zip(forget, retain, strict=True)]
    weights = {"forget_weight": forget_weight, "retain_weight": retain_weight}
    plain = weighted_sum.combine([g.clone() for g in agreeing], list(retain), weighted_sum.Config(**weights), moment())
    for scope in ("per_tensor", "global"):
        for expected, found in zip(plain, combine(agreeing, retain, scope=scope, **weights), strict=True):
            assert torch.equal(expected, found)


@pytest.mark.parametrize("scope", ["per_tensor", "global"])
@given(gradients=LARGE, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_a_step_never_goes_against_the_retain_gradient(scope, gradients, forget_weight, retain_weight):
    forget, retain = conflicting(*gradients)
    weights = {"forget_weight": forget_weight, "retain_weight": retain_weight}
    found = combine(forget, retain, scope=scope, **weights)
    rounding = 1e-5 * forget_weight * forget.norm().item() * retain.norm().item()
    assert dot(found, retain) >= -rounding
    if scope == "global":
        expected = retain_weight * dot(retain, retain)
        assert dot(found, retain) == pytest.approx(expected, rel=1e-5, abs=2 * rounding)


@given(gradients=LARGE)
def test_in_conflict_the_cosine_has_a_closed_form(gradients):
    # With both weights 1: cos(g, g_r) = 1 / sqrt(1 + ‖projected g_f‖² / ‖g_r‖²).
    forget, retain = ([gradient.flatten()] for gradient in conflicting(*gradients))
    (found,), (left,) = combine(forget, retain), projected(forget, retain)
    expected = 1 / math.sqrt(1 + (left.norm() / retain[0].norm()).item() ** 2)
    assert torch.cosine_similarity(found, retain[0], dim=0).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scope", ["per_tensor", "global"])
@given(gradients=GRADIENTS, forget_weight=WEIGHTS)
def test_without_a_retain_gradient_the_weighted_forget_gradient_is_left(scope, gradients, forget_weight):
    forget = gradients[0]
    found = combine(forget, torch.zeros_like(forget), scope=scope, forget_weight=forget_weight)
    assert torch.equal(torch.stack(found), forget * forget_weight)


@given(gradients=LARGE)
def test_as_one_vector_it_does_not_matter_how_the_weights_are_cut_into_tensors(gradients):
    whole = combine([gradients[0].flatten()], [gradients[1].flatten()], scope="global")[0]
    cut = torch.cat(combine(*gradients, scope="global"))
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-4)


@given(gradients=GRADIENTS)
def test_tensor_by_tensor_each_is_combined_as_if_it_were_alone(gradients):
    alone = [combine([forget], [retain])[0] for forget, retain in zip(*gradients, strict=True)]
    assert torch.equal(torch.stack(combine(*gradients)), torch.stack(alone))


def test_the_two_scopes_differ_when_only_one_tensor_conflicts():
    forget, retain = [torch.tensor([-1.0]), torch.tensor([2.0])], [torch.tensor([1.0]), torch.tensor([1.0])]
    # First tensor: −1 + 1 = 0 is left, plus 1. As one vector ⟨·,·⟩ = −1 + 2 > 0: the plain sum.
    assert torch.cat(combine(forget, retain)).tolist() == pytest.approx([1, 3])
    assert torch.cat(combine(forget, retain, scope="global")).tolist() == pytest.approx([0, 3])


def test_epsilon_leaves_part_of_the_conflict_where_the_retain_gradient_is_small():
    # ‖g_r‖² = ε = 1/4: −1 + (1/2) / (1/4 + 1/4) × 1/2 = −1/2, half of the way.
    left = projected([torch.tensor([-1.0])], [torch.tensor([0.5])], epsilon=0.25)
    assert left[0].tolist() == pytest.approx([-0.5])


def test_products_of_half_precision_gradients_are_taken_in_fp32():
    # ⟨g_f, g_r⟩ = −256 and ‖g_r‖² = 257, which bf16 has not: 256/257 is 255/256 there and not 1: what is left is
    # −16 + 16 × 255/256 = −1/16, and 255/256.
    forget, retain = (torch.tensor(numbers, dtype=torch.bfloat16) for numbers in ([-16.0, 0.0], [16.0, 1.0]))
    assert projected([forget], [retain])[0].tolist() == [-1 / 16, 255 / 256]


def test_as_one_vector_products_are_summed_in_fp64():
    # 2²⁵ − 2²⁵ + 5 × 1 − 4.5 = 1/2, no conflict; in fp32 the 1s are lost beside 2²⁵ and −4.5 would be.
    forget = [torch.tensor([number]) for number in (2.0**25, 1.0, 1.0, 1.0, 1.0, 1.0, -(2.0**25), -4.5)]
    retain = [torch.ones(1)] * len(forget)
    assert torch.equal(torch.cat(projected(forget, retain, scope="global")), torch.cat(forget))
