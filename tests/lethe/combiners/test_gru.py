import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.combiners import gru
from lethe.moments import Moment
from tests.gradient_pairs import GRADIENTS, dot, fixture, norm


def settings(*, forget_weight=1.0, retain_weight=0.0, smoothing=0.8, lowest_cosine=None):
    weights = {"forget_weight": forget_weight, "retain_weight": retain_weight}
    return gru.Config(**weights, smoothing=smoothing, lowest_cosine=lowest_cosine)


def combine(forget, retain, memory=None, **changes):
    moment = Moment(0, 1.0, 1.0, {} if memory is None else memory)
    return gru.combine([tensor.clone() for tensor in forget], list(retain), settings(**changes), moment)


def test_worked_example():
    # At first the average is 0.8 g_r, and its length does not matter: g_f + 3/31 g_r.
    left = [1.193548, -1.903226, 2.903226, 0.483871, 4]
    assert torch.cat(combine(*fixture())).tolist() == pytest.approx(left, abs=1e-6)
    summed = torch.cat(combine(*fixture(), forget_weight=2.0, retain_weight=1.0))
    expected = [2 * one + other for one, other in zip(left, [2, 1, -1, 5, 0], strict=True)]
    assert summed.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_average_follows_by_its_smoothing():
    # 0.8 × 1 = 0.8, then 0.8 × (−1) + 0.2 × 0.8 = −0.64
    memory: dict[str, torch.Tensor] = {}
    averages = []
    for retain in (1.0, -1.0):
        combine([torch.tensor([1.0])], [torch.tensor([retain])], memory)
        averages.append(memory["gru.0"].item())
    assert averages == pytest.approx([0.8, -0.64])


def test_it_is_the_average_that_the_forget_gradient_must_not_go_against():
    # The retain gradient of the second step agrees, its average −0.8 + ... = 0.8 × 0.1 − 0.16 = −0.08 conflicts.
    memory: dict[str, torch.Tensor] = {}
    combine([torch.tensor([1.0])], [torch.tensor([-1.0])], memory)
    assert combine([torch.tensor([1.0])], [torch.tensor([0.1])], memory)[0].item() == pytest.approx(0, abs=1e-7)


@given(gradients=GRADIENTS, earlier=GRADIENTS)
def test_the_rectified_forget_gradient_never_goes_against_the_average(gradients, earlier):
    memory: dict[str, torch.Tensor] = {}
    combine(*earlier, memory)
    forget, retain = gradients
    left = combine(forget, retain, memory)
    average = [memory[f"gru.{index}"] for index in range(len(retain))]
    assert dot(left, average) >= -1e-5 * norm(forget) * norm(average)
    if dot(forget, average) < 0:
        assert abs(dot(left, average)) <= 1e-5 * norm(forget) * norm(average)
    else:
        assert torch.equal(torch.stack(left), forget)


@given(gradients=GRADIENTS, lowest=st.floats(-0.9, 0))
def test_of_a_conflict_beyond_the_lowest_cosine_the_rest_is_left(gradients, lowest):
    # cos after = (cos − lowest) × ‖g_f‖ along ḡ
    forget, retain = gradients
    left = combine(-forget, retain, lowest_cosine=lowest)
    cosine = dot(-forget, retain) / (norm(forget) * norm(retain))
    expected = (cosine - max(cosine, lowest)) * norm(forget) if cosine < 0 else cosine * norm(forget)
    assert dot(left, retain) / norm(retain) == pytest.approx(expected, abs=1e-4 * norm(forget))


def test_a_retain_gradient_of_zero_changes_nothing():
    assert combine([torch.tensor([1.0])], [torch.zeros(1)], lowest_cosine=-0.5)[0].item() == 1


def test_the_memory_is_not_the_gradient_itself():
    retain, memory = [torch.tensor([1.0])], {}
    combine([torch.tensor([1.0])], retain, memory, smoothing=1.0)
    retain[0].zero_()
    assert memory["gru.0"].item() == 1
