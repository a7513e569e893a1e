import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lethe.combiners import sago
from tests.moments import moment

NUMBERS = st.floats(-8, 8, width=32)
WEIGHTS = st.floats(0.01, 8)
NORMAL = st.floats(-8, 8, width=32, allow_subnormal=False)  # a quarter of it is not zero
POLICIES = st.sampled_from(["paper", "retain"])
FORMS = st.sampled_from(["paper", "prefer_retain"])
#: Two gradients: [forget or retain, coordinate]; zeros and the smallest of numbers are part of it.
GRADIENTS = arrays.arrays("float32", (2, 9), elements=NUMBERS).map(torch.from_numpy)


def combine(forget, retain, *, form="paper", zero_policy="paper", forget_weight=1.0, retain_weight=1.0):
    weights = {"forget_weight": forget_weight, "retain_weight": retain_weight}
    config = sago.Config(**weights, form=form, zero_policy=zero_policy)
    return sago.combine([forget.clone()], [retain.clone()], config, moment())[0]


def test_worked_example():
    # Signs agree at 1, meet a zero at 4 and 5, differ at 2 and 3.
    forget, retain = torch.tensor([1.0, -2.0, 3.0, 0.0, 4.0]), torch.tensor([2.0, 1.0, -1.0, 5.0, 0.0])
    found = combine(forget, retain)
    assert found.tolist() == [1, 1, -1, 0, 4]
    # ⟨g, g_r⟩ = 2 + 1 + 1 = 4, ‖g‖ = √19, ‖g_r‖ = √31: 4 / √589
    assert torch.cosine_similarity(found, retain, dim=0).item() == pytest.approx(0.164817, abs=1e-6)
    assert combine(forget, retain, zero_policy="retain").tolist() == [1, 1, -1, 5, 4]
    # The sum where they agree: 1 + 2, 0 + 5, 4 + 0.
    assert combine(forget, retain, form="prefer_retain").tolist() == [3, 1, -1, 5, 4]


@given(gradients=GRADIENTS, form=FORMS, policy=POLICIES, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_no_coordinate_moves_against_the_retain_gradient(gradients, form, policy, forget_weight, retain_weight):
    forget, retain = gradients
    weights = {"forget_weight": forget_weight, "retain_weight": retain_weight}
    found = combine(forget, retain, form=form, zero_policy=policy, **weights)
    assert torch.all(found.sign() * retain.sign() >= 0)
    assert torch.dot(found, retain) >= 0


@given(gradients=GRADIENTS, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_the_product_with_the_retain_gradient_has_a_closed_form(gradients, forget_weight, retain_weight):
    # α Σ g_r² over conflicts + γ Σ g_f g_r over the rest.
    forget, retain = gradients.double()
    conflict = forget * retain < 0
    expected = retain_weight * (retain[conflict] ** 2).sum() + forget_weight * (forget * retain)[~conflict].sum()
    found = combine(forget.float(), retain.float(), forget_weight=forget_weight, retain_weight=retain_weight)
    assert torch.dot(found.double(), retain).item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


@given(gradients=GRADIENTS, policy=POLICIES)
def test_no_coordinate_gets_a_part_of_both_gradients(gradients, policy):
    forget, retain = gradients
    from_forget = combine(forget, retain, zero_policy=policy, retain_weight=0.0)
    from_retain = combine(forget, retain, zero_policy=policy, forget_weight=0.0)
    assert torch.count_nonzero(from_forget * from_retain) == 0
    assert torch.equal(from_forget + from_retain, combine(forget, retain, zero_policy=policy))


@given(gradients=GRADIENTS, policy=POLICIES, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_every_coordinate_is_one_weighted_gradient_or_the_other(gradients, policy, forget_weight, retain_weight):
    forget, retain = gradients
    found = combine(forget, retain, zero_policy=policy, forget_weight=forget_weight, retain_weight=retain_weight)
    assert torch.all((found == forget_weight * forget) | (found == retain_weight * retain))


@given(
    retain=arrays.arrays("float32", 9, elements=NORMAL).map(torch.from_numpy), scale=st.sampled_from([0.25, 1.0, 4.0])
)
def test_parallel_gradients_give_the_forget_and_opposite_ones_the_retain_gradient(retain, scale):
    weights = {"forget_weight": 0.5, "retain_weight": 2.0}
    assert torch.equal(combine(scale * retain, retain, **weights), 0.5 * scale * retain)
    opposite = combine(-scale * retain, retain, **weights)
    assert torch.equal(opposite[retain != 0], 2.0 * retain[retain != 0])


@given(
    gradients=GRADIENTS, forget_scale=st.sampled_from([2**-20, 0.5, 2**20]), retain_scale=st.sampled_from([2**-20, 4.0])
)
def test_scaling_a_gradient_does_not_change_where_they_conflict(gradients, forget_scale, retain_scale):
    forget, retain = gradients
    forget, retain = forget * (forget.abs() > 1e-20), retain * (retain.abs() > 1e-20)  # scaled, the rest would be zero
    before = combine(forget, retain, retain_weight=0.0) != 0
    after = combine(forget_scale * forget, retain_scale * retain, retain_weight=0.0) != 0
    assert torch.equal(before, after)


def test_gradients_whose_product_underflows_still_conflict():
    tiny = torch.tensor([1e-30])
    assert combine(tiny, -tiny).item() == -tiny.item()


POSITIVE = arrays.arrays("float32", 9, elements=st.floats(0.125, 8, width=32)).map(torch.from_numpy)


@given(gradients=GRADIENTS, rescaling=POSITIVE, mask=arrays.arrays("bool", 9).map(torch.from_numpy))
def test_the_guarantee_survives_rescaling_masks_signs_and_clipping(gradients, rescaling, mask):
    forget, retain = gradients
    found = combine(forget, retain)
    clipped = found / max(1.0, found.norm().item())
    for step in (rescaling * found, mask * found, found.sign(), found.clamp(-1, 1), clipped):
        assert torch.all(step.sign() * retain.sign() >= 0)


@given(gradients=GRADIENTS, policy=POLICIES, cut=st.integers(1, 8))
def test_combined_shard_by_shard_it_is_the_same(gradients, policy, cut):
    forget, retain = gradients
    whole = combine(forget, retain, zero_policy=policy)
    shards = [combine(forget[part], retain[part], zero_policy=policy) for part in (slice(cut), slice(cut, None))]
    assert torch.equal(torch.cat(shards), whole)


@given(gradients=GRADIENTS)
def test_the_policies_differ_exactly_where_the_forget_gradient_is_zero(gradients):
    forget, retain = gradients
    forget = torch.where(forget > 4, 0.0, forget)
    paper, kept = combine(forget, retain), combine(forget, retain, zero_policy="retain")
    assert torch.all(paper[forget == 0] == 0)
    assert torch.equal(kept[forget == 0], retain[forget == 0])
    assert torch.equal(paper[forget != 0], kept[forget != 0])


def test_a_zero_retain_gradient_leaves_the_forget_gradient():
    forget = torch.tensor([1.0, -2.0, 3.0])
    assert torch.equal(combine(forget, torch.zeros(3), forget_weight=0.5), 0.5 * forget)


@given(gradients=GRADIENTS, policy=POLICIES, forget_weight=WEIGHTS, retain_weight=WEIGHTS)
def test_preferring_retain_adds_the_retain_gradient_exactly_where_the_paper_drops_it(
    gradients, policy, forget_weight, retain_weight
):
    forget, retain = gradients
    weights = {"forget_weight": forget_weight, "retain_weight": retain_weight}
    dropped = combine(forget, retain, forget_weight=0.0) == 0
    expected = combine(forget, retain, **weights) + torch.where(dropped, retain_weight * retain, 0.0)
    assert torch.equal(combine(forget, retain, form="prefer_retain", zero_policy=policy, **weights), expected)
