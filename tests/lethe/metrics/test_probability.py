import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import probability
from lethe.metrics.probability import Config
from lethe.records import Records
from tests.synthetic_records import likelihood, question

EXACT, RELEASED = Config(mode="exact"), Config(mode="openunlearning")


def normalised(correct, false, config):
    said = Records(question(correct, None, false, split="world_facts"), [])
    return probability.compute(said, config)["normalised_probability"].numbers


def test_the_probability_is_that_of_an_average_token():
    # exp(−(ln 2 + ln 8)/2) = (1/16)^(1/2) = 1/4
    said = Records([likelihood([-math.log(2), -math.log(8)])], [])
    assert probability.compute(said, EXACT)["probability"].numbers == pytest.approx([0.25])


def test_a_utility_subset_with_false_answers_is_also_scored_among_its_options():
    # L = 1 against (2, 3, 4): 1/(1 + e⁻¹ + e⁻² + e⁻³) = 1/1.55300 = 0.6439142599
    found = probability.compute(Records(question(1.0, None, [2.0, 3.0, 4.0], split="world_facts"), []), EXACT)
    assert found["normalised_probability"].numbers == pytest.approx([0.6439142599], rel=1e-9)
    assert found["probability"].numbers == pytest.approx([math.exp(-1)])


def test_forget_and_utility_without_false_answers_have_the_plain_probability_alone():
    with_options, without = question(1.0, 1.0, [2.0]), question(1.0, split="world_facts")
    assert set(probability.compute(Records(with_options, []), EXACT)) == {"probability"}
    assert set(probability.compute(Records(without, []), EXACT)) == {"probability"}


def test_a_hopeless_answer_among_its_options_is_exactly_zero_and_a_collapsed_model_undecided():
    hopeless = Records(question(2000.0, None, [1.0], split="world_facts"), [])
    collapsed = Records(question(2000.0, None, [2000.0], split="world_facts"), [])
    for said, expected in ((hopeless, 0.0), (collapsed, 0.5)):
        np.testing.assert_array_equal(probability.compute(said, EXACT)["normalised_probability"].numbers, [expected])


def test_the_1e_10_of_the_released_code_rules_the_share_of_a_collapsed_model():
    # p = e⁻³⁰ = 9.3576e-14 among four alike: p / (4p + 1e-10) = 9.3576e-14 / 1.003743e-10 = 9.3227e-4, without ¼
    assert normalised(30.0, [30.0] * 3, RELEASED) == pytest.approx([9.3227e-4], rel=1e-4)
    assert normalised(30.0, [30.0] * 3, EXACT) == pytest.approx([0.25])
    assert normalised(2000.0, [2000.0], RELEASED) == [0.0]


# The 1e-10 is at most 1e-10 e⁹ = 8.1e-7 of the denominator.
@given(st.floats(0, 9), st.lists(st.floats(0, 60), min_size=1, max_size=5))
def test_of_probabilities_far_above_1e_10_both_modes_say_the_same(correct, false):
    assert normalised(correct, false, RELEASED) == pytest.approx(normalised(correct, false, EXACT), rel=1e-6)


def test_the_plain_probability_is_the_same_in_both_modes():
    said = Records(question(60.0, None, [61.0], split="world_facts"), [])
    exact, released = (probability.compute(said, mode)["probability"].numbers for mode in (EXACT, RELEASED))
    np.testing.assert_array_equal(exact, released)
