import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import truth_ratio
from lethe.metrics.truth_ratio import Config
from lethe.records import Records
from tests.synthetic_records import question

GEOMETRIC = Config(mean="geometric", mode="exact")
RELEASED = Config(mean="geometric", mode="openunlearning")


def found(split, *, correct=1.0, false=(2.0, 3.0, 4.0), config=GEOMETRIC):
    said = Records(question(correct, correct, false, split=split), [])
    return {name: item.numbers[0] for name, item in truth_ratio.compute(said, config).items()}


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


@pytest.mark.parametrize(
    ("split", "correct", "false", "form", "knowledge"),
    [
        # p = e⁻³⁰ = 9.3576e-14: TR = p / (p + 1e-10) = 9.3489e-4, knowledge p / (2p + 1e-10) = 9.3401e-4; exact: 1, ½
        ("forget", 30.0, 30.0, 9.3489e-4, 9.3401e-4),
        # TR = e⁻⁶¹ / 1e-10 = 3.2213e-17, knowledge e⁻⁶⁰ / 1e-10 = 8.7565e-17; exact: 0.368 and 0.731
        ("holdout", 60.0, 61.0, 3.2213e-17, 8.7565e-17),
        ("retain", 30.0, 30.0, 1 - 9.3489e-4, 9.3401e-4),
        ("world_facts", 60.0, 61.0, 1.0, 8.7565e-17),
        # TR = e⁻¹ / (e⁻³⁰ + 1e-10) = 3.67535e9; 1 / (TR + 1e-10) = 2.7208e-10, knowledge e⁻³⁰ / e⁻¹ = e⁻²⁹ = 2.5437e-13
        ("forget", 30.0, 1.0, 2.7208e-10, 2.5437e-13),
    ],
)
def test_the_forms_of_the_released_code_carry_its_1e_10(split, correct, false, form, knowledge):
    numbers = found(split, correct=correct, false=[false], config=RELEASED)
    assert numbers == pytest.approx({"truth_ratio": form, "truth_ratio_knowledge": knowledge}, rel=1e-4)


@given(st.floats(0, 100), st.lists(st.floats(0, 100), min_size=1, max_size=5), st.sampled_from(["forget", "retain"]))
def test_the_released_forms_are_the_released_formulas(correct, false, split):
    correct, *false = np.array([correct, *false], dtype=np.float32).astype(float)  # records are fp32
    p, wrong = np.exp(-correct), np.exp(-np.mean(false))
    ratio = wrong / (p + 1e-10)
    form = min(ratio, 1 / (ratio + 1e-10)) if split == "forget" else max(0.0, 1 - ratio)
    numbers = found(split, correct=correct, false=false, config=RELEASED)
    assert numbers["truth_ratio"] == pytest.approx(form, rel=1e-12, abs=1e-15)
    assert numbers["truth_ratio_knowledge"] == pytest.approx(p / (p + wrong + 1e-10), rel=1e-12)
    assert 0 <= numbers["truth_ratio"] <= 1
    assert 0 <= numbers["truth_ratio_knowledge"] < 1


# A probability of at least e⁻⁹ = 1.2e-4 has 1e-10 for 8.1e-7 of itself; the ratio's reciprocal adds 1e-10 once more.
@given(st.floats(0, 9), st.lists(st.floats(0, 9), min_size=1, max_size=5))
def test_of_probabilities_far_above_1e_10_both_modes_say_the_same(correct, false):
    for split in ("forget", "retain"):
        exact, released = (found(split, correct=correct, false=false, config=mode) for mode in (GEOMETRIC, RELEASED))
        assert released == pytest.approx(exact, rel=1e-6, abs=1e-6 if split == "retain" else 0)


def test_the_less_a_model_knows_the_lower_is_its_knowledge_in_both_modes():
    for mode in (GEOMETRIC, RELEASED):
        shares = [found("forget", correct=nll, config=mode)["truth_ratio_knowledge"] for nll in (1.0, 5.0, 20.0, 40.0)]
        assert shares == sorted(shares, reverse=True)
        assert len(set(shares)) == 4
