import math

import numpy as np
import pytest

from lethe.metrics import paraphrased_probability
from lethe.metrics.paraphrased_probability import Config
from lethe.records import PARAPHRASED_ANSWER, Records
from tests.synthetic_records import likelihood, question


def computed(said):
    return paraphrased_probability.compute(Records(said, []), Config())


def test_it_is_that_of_an_average_token_of_the_paraphrase():
    # exp(−(ln 2 + ln 8)/2) = 1/4, whatever the answer itself has.
    said = [likelihood([-9.0]), likelihood([-math.log(2), -math.log(8)], kind=PARAPHRASED_ANSWER)]
    assert computed(said)["paraphrased_probability"].numbers == pytest.approx([0.25])


def test_a_question_without_a_paraphrase_beside_some_with_one_is_unscored_not_zero():
    found = computed([*question(1.0, 2.0, id="q0"), *question(1.0, id="q1")])["paraphrased_probability"]
    np.testing.assert_allclose(found.numbers, [math.exp(-2), np.nan])
    assert (found.n, found.unscored) == (1, 1)


def test_where_no_answer_has_one_it_is_missing_on_forget_and_absent_elsewhere():
    assert computed(question(1.0))["paraphrased_probability"].ids == ()
    assert computed(question(1.0, split="world_facts")) == {}
