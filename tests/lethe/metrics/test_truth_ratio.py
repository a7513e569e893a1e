import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import truth_ratio
from lethe.metrics.truth_ratio import Config
from lethe.records import Records
from tests.synthetic_records import question

GEOMETRIC = Config(mean="geometric")


def found(split, *, correct=1.0):
    said = Records(question(1.0, correct, [2.0, 3.0, 4.0], split=split), [])
    return {name: item.numbers[0] for name, item in truth_ratio.compute(said, GEOMETRIC).items()}


@pytest.mark.parametrize("split", ["forget", "holdout"])
def test_on_forget_and_holdout_the_form_is_closer_to_1(split):
    # TR = e^(1 − 3) = 0.1353352832, min(TR, 1/TR) = TR; knowledge 1/(1 + TR) = 0.8807970780
    assert found(split) == pytest.approx({"truth_ratio": 0.1353352832, "truth_ratio_knowledge": 0.8807970780}, rel=1e-8)


@pytest.mark.parametrize("split", ["retain", "world_facts"])
def test_on_retain_and_utility_the_form_is_true_better(split):
    # 1 − TR = 1 − 0.1353352832
    assert found(split)["truth_ratio"] == pytest.approx(0.8646647168, rel=1e-9)


def test_a_model_that_prefers_what_is_false_gets_zero_where_the_true_answer_should_be_better():
    assert found("retain", correct=5.0)["truth_ratio"] == 0.0
    assert found("forget", correct=5.0)["truth_ratio"] == pytest.approx(0.1353352832)  # TR = e², 1/TR = e⁻²


@given(st.floats(-300, 300))
def test_the_forms_agree_with_their_formulas_and_keep_their_range(log_ratio):
    ratio = np.exp(np.float64(log_ratio))
    assert truth_ratio.closer_to_1(log_ratio) == pytest.approx(min(ratio, 1 / ratio), rel=1e-9)
    assert truth_ratio.true_better(log_ratio) == pytest.approx(max(0.0, 1 - ratio), rel=1e-9, abs=1e-15)
    assert truth_ratio.knowledge(log_ratio) == pytest.approx(1 / (1 + ratio), rel=1e-9)


@given(st.floats(-20, 20))
def test_closer_to_1_is_the_same_for_a_ratio_and_its_reciprocal_and_knowledge_sums_to_one(log_ratio):
    assert truth_ratio.closer_to_1(log_ratio) == truth_ratio.closer_to_1(-log_ratio)
    assert truth_ratio.knowledge(log_ratio) + truth_ratio.knowledge(-log_ratio) == pytest.approx(1.0)
