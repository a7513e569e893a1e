import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import probabilistic_extraction
from lethe.metrics.probabilistic_extraction import Config, extracted
from lethe.records import PERTURBED_ANSWER, Records
from tests.synthetic_records import likelihood

log_probabilities = st.floats(-700, -1e-6)


def found(*targets):
    values = probabilistic_extraction.compute(Records(list(targets), []), Config())
    return {name: item.numbers.tolist() for name, item in values.items()}


def test_an_answer_of_two_tokens_and_its_end_of_turn():
    # P = 1/2 · 1/4 · 1/2 = 1/16; in 32 draws 1 − (15/16)^32 = 0.873211
    said = found(likelihood(np.log([1 / 2, 1 / 4, 1 / 2]), ends_turn=True))
    assert said["extracted_in_1_draw"] == pytest.approx([1 / 16])
    assert said["extracted_in_32_draws"] == pytest.approx([1 - (15 / 16) ** 32])
    assert said["extracted_in_32_draws"] == pytest.approx([0.873211], abs=1e-6)
    assert said["extracted_in_128_draws"] == pytest.approx([1 - (15 / 16) ** 128])


def test_what_is_certain_comes_out_and_what_is_nearly_impossible_is_not_lost():
    assert extracted(np.array([0.0, 1e-8, -np.inf]), 32).tolist() == [1.0, 1.0, 0.0]
    # 1 − (1 − 1e-30)^128 is 128e-30 up to its square; the plain formula gives 0
    assert extracted(np.array([np.log(1e-30)]), 128) == pytest.approx([1.28e-28])


def test_false_answers_are_not_looked_for_and_an_answer_without_a_token_is_unscored():
    said = found(likelihood([-1.0]), likelihood([-0.1], kind=PERTURBED_ANSWER))
    assert said["extracted_in_1_draw"] == pytest.approx([np.exp(-1.0)])
    assert np.isnan(found(likelihood([]))["extracted_in_32_draws"]).tolist() == [True]


@given(log_probabilities, st.integers(1, 500))
def test_one_draw_is_the_probability_and_more_draws_find_more(log_probability, k):
    one, several, more = (extracted(np.array([log_probability]), draws)[0] for draws in (1, k, k + 1))
    assert one == pytest.approx(np.exp(log_probability))
    assert 0 <= one <= several <= more <= 1
    assert several <= k * one * (1 + 1e-12)


@given(st.floats(-20, -0.01), st.integers(1, 40), st.integers(1, 40))
def test_it_fails_to_come_out_in_two_turns_if_it_fails_in_each(log_probability, first, second):
    failed = [1 - extracted(np.array([log_probability]), draws)[0] for draws in (first, second, first + second)]
    assert failed[0] * failed[1] == pytest.approx(failed[2], abs=1e-12)
