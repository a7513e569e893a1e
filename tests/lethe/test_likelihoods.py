import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import likelihoods
from lethe.records import TEXT, Records
from tests.synthetic_records import likelihood, question

nlls = st.floats(0.0, 60.0)


def test_the_mean_nll_is_over_the_tokens_of_each_target():
    targets = [likelihood([-1.0, -3.0]), likelihood([]), likelihood([-0.5])]
    np.testing.assert_allclose(likelihoods.mean_nlls(targets), [2.0, np.nan, 0.5])
    np.testing.assert_allclose(likelihoods.mean_nlls([likelihood([])]), [np.nan])
    assert likelihoods.mean_nlls([]).shape == (0,)


def test_an_answer_without_tokens_is_unscored():
    found = likelihoods.probabilities(Records([likelihood([]), likelihood([-1.0], id="q1")], []))
    np.testing.assert_allclose(found.numbers, [np.nan, math.exp(-1)])


def test_the_chunks_of_a_text_count_as_one_example():
    chunks = [likelihood([-1.0], kind=TEXT, index=0), likelihood([-2.0], kind=TEXT, index=1)]
    found = likelihoods.probabilities(Records(chunks, []))
    np.testing.assert_allclose(found.numbers, [(math.exp(-1) + math.exp(-2)) / 2])


@pytest.mark.parametrize(
    ("drop_eos", "ends_turn", "left"),
    [("never", True, 3), ("if_ends_turn", True, 2), ("if_ends_turn", False, 3), ("always_last", False, 2)],
)
def test_the_closing_token_counts_as_the_flag_says(drop_eos, ends_turn, left):
    assert len(likelihoods.hits(likelihood([-1.0] * 3, ends_turn=ends_turn), drop_eos)) == left


def test_the_truth_ratio_example():
    # L_para = 1, L_false = (2, 3, 4): geometric 1 − 3 = −2; arithmetic
    # log((e⁻² + e⁻³ + e⁻⁴)/3) + 1 = log 0.1843339309.
    said = Records(question(0.3, 1.0, [2.0, 3.0, 4.0]), [])
    assert likelihoods.truth_ratios(said, "geometric", "exact").numbers == pytest.approx(-2.0)
    assert np.exp(likelihoods.truth_ratios(said, "arithmetic", "exact").numbers) == pytest.approx(
        0.1843339309, rel=1e-9
    )


def test_a_utility_subset_compares_the_original_answer():
    said = Records(question(0.5, 1.0, [2.0], split="world_facts"), [])
    assert likelihoods.truth_ratios(said, "geometric", "exact").numbers == pytest.approx(-1.5)


@pytest.mark.parametrize(
    "answers", [question(1.0, None, [2.0]), question(1.0, 1.0)], ids=["no paraphrase", "no false answer"]
)
@pytest.mark.parametrize("mode", ["exact", "openunlearning"])
def test_a_question_that_lacks_one_side_is_unscored(answers, mode):
    found = likelihoods.truth_ratios(Records(answers, []), "geometric", mode)
    assert (found.n, found.unscored) == (0, 1)


def test_a_collapsed_model_is_neither_for_nor_against_the_truth():
    said = Records(question(30.0, 30.0, [30.0, 30.0]), [])
    assert likelihoods.truth_ratios(said, "geometric", "exact").numbers == pytest.approx(0.0)


@given(
    nlls,
    st.lists(nlls, min_size=1, max_size=5),
    st.floats(0.0, 30.0),
    st.sampled_from(["geometric", "arithmetic"]),
)
def test_the_truth_ratio_is_unchanged_when_all_answers_are_rescaled_alike(correct, false, shift, mean):
    plain = Records(question(1.0, correct, false), [])
    rescaled = Records(question(1.0, correct + shift, [nll + shift for nll in false]), [])
    first, second = (likelihoods.truth_ratios(said, mean, "exact").numbers for said in (plain, rescaled))
    np.testing.assert_allclose(first, second, atol=1e-4)  # log-probabilities are recorded in fp32


@given(nlls, st.lists(nlls, min_size=1, max_size=5))
def test_the_geometric_mean_of_false_answers_is_never_above_the_arithmetic(correct, false):
    said = Records(question(1.0, correct, false), [])
    geometric, arithmetic = (
        likelihoods.truth_ratios(said, mean, "exact").numbers[0] for mean in ("geometric", "arithmetic")
    )
    assert geometric <= arithmetic + 1e-9


@pytest.mark.parametrize(
    ("correct", "false", "released", "exact"),
    [
        # e⁻³⁰ = 9.3576e-14, over itself and 1e-10: 9.3576e-14 / 1.000936e-10 = 9.3489e-4; without: e⁰ = 1
        (30.0, 30.0, 9.3489e-4, 1.0),
        # e⁻⁶¹ = 3.2213e-27, over e⁻⁶⁰ + 1e-10 = 1e-10: 3.2213e-17; without: e⁻¹ = 0.367879
        (60.0, 61.0, 3.2213e-17, 0.367879),
    ],
)
def test_the_1e_10_of_the_released_code_rules_the_truth_ratio_of_a_collapsed_model(correct, false, released, exact):
    said = Records(question(1.0, correct, [false]), [])
    assert likelihoods.truth_ratios(said, "geometric", "openunlearning").numbers == pytest.approx(released, rel=1e-4)
    assert np.exp(likelihoods.truth_ratios(said, "geometric", "exact").numbers) == pytest.approx(exact, rel=1e-5)


# 1e-10 is at most 1e-10 e⁹ = 8.1e-7 of a probability of at least e⁻⁹ = 1.2e-4.
@given(st.floats(0.0, 9.0), st.lists(nlls, min_size=1, max_size=5), st.sampled_from(["geometric", "arithmetic"]))
def test_of_probabilities_far_above_1e_10_both_modes_make_the_same_ratio_and_the_released_one_is_below(
    correct, false, mean
):
    said = Records(question(1.0, correct, false), [])
    (exact,), (released,) = (likelihoods.truth_ratios(said, mean, mode).numbers for mode in ("exact", "openunlearning"))
    assert np.exp(exact) * (1 - 1e-6) <= released <= np.exp(exact) * (1 + 1e-12)


@given(nlls, st.lists(nlls, min_size=1, max_size=5))
def test_the_released_share_is_below_the_true_one_and_falls_as_the_answer_does(correct, false):
    share, worse = (likelihoods.released_share(correct + shift, np.array(false)) for shift in (0.0, 1.0))
    assert 0 <= worse < share < 1 / (1 + np.exp(correct - np.array(false)).sum()) * (1 + 1e-12)


def test_a_ratio_below_the_smallest_float_counts_as_that_float():
    # e⁻⁸⁰⁰ is 0 to a float of 64 bits, whose smallest is 2⁻¹⁰⁷⁴: −1074 ln 2 = −744.44.
    ratios = likelihoods.truth_ratios(Records(question(1.0, 1.0, [800.0]), []), "geometric", "openunlearning")
    assert ratios.numbers == [0.0]
    assert likelihoods.logs(ratios).numbers == pytest.approx([-1074 * math.log(2)])
