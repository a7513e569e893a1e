import math

import numpy as np
import pytest

from lethe.metrics import probability
from lethe.metrics.probability import Config
from lethe.records import Records
from tests.synthetic_records import likelihood, question


def test_the_probability_is_that_of_an_average_token():
    # exp(−(ln 2 + ln 8)/2) = (1/16)^(1/2) = 1/4
    said = Records([likelihood([-math.log(2), -math.log(8)])], [])
    assert probability.compute(said, Config())["probability"].numbers == pytest.approx([0.25])


def test_a_utility_subset_with_false_answers_is_also_scored_among_its_options():
    # L = 1 against (2, 3, 4): 1/(1 + e⁻¹ + e⁻² + e⁻³) = 1/1.55300 = 0.6439142599
    found = probability.compute(Records(question(1.0, None, [2.0, 3.0, 4.0], split="world_facts"), []), Config())
    assert found["normalised_probability"].numbers == pytest.approx([0.6439142599], rel=1e-9)
    assert found["probability"].numbers == pytest.approx([math.exp(-1)])


def test_forget_and_utility_without_false_answers_have_the_plain_probability_alone():
    with_options, without = question(1.0, 1.0, [2.0]), question(1.0, split="world_facts")
    assert set(probability.compute(Records(with_options, []), Config())) == {"probability"}
    assert set(probability.compute(Records(without, []), Config())) == {"probability"}


def test_a_hopeless_answer_among_its_options_is_exactly_zero_and_a_collapsed_model_undecided():
    hopeless = Records(question(2000.0, None, [1.0], split="world_facts"), [])
    collapsed = Records(question(2000.0, None, [2000.0], split="world_facts"), [])
    for said, expected in ((hopeless, 0.0), (collapsed, 0.5)):
        np.testing.assert_array_equal(probability.compute(said, Config())["normalised_probability"].numbers, [expected])
