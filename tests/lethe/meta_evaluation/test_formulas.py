import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.meta_evaluation import formulas
from lethe.meta_evaluation.formulas import Pair

KNOWN = st.floats(0, 1)
PAIRS = st.builds(Pair, KNOWN, KNOWN)
POOLS = st.lists(st.integers(0, 9).map(float), min_size=1, max_size=8)


def test_the_published_example():
    # R = (.60 − .10) / (.95 − .12) = .50/.83; Q = .12/.30; 2 / (.83/.50 + .30/.12) = 2 / 4.16.
    relearning = formulas.relearning(Pair(0.12, 0.95), Pair(0.10, 0.60))
    quantization = formulas.quantization(Pair(0.12, 0.30))
    assert relearning == pytest.approx(0.50 / 0.83)
    assert relearning == pytest.approx(0.6024, abs=5e-5)
    assert quantization == pytest.approx(0.4)
    assert formulas.combined([relearning, quantization]) == pytest.approx(0.4808, abs=5e-5)


def test_the_symmetric_forms_of_the_published_example():
    # Q' = 1 − .18/.42 = 4/7; R' = 1 − (.83 − .50)/(.83 + .50) = 100/133.
    assert formulas.symmetric_quantization(Pair(0.12, 0.30)) == pytest.approx(4 / 7)
    assert formulas.symmetric_relearning(Pair(0.12, 0.95), Pair(0.10, 0.60)) == pytest.approx(100 / 133)


def test_a_metric_that_an_attack_destroys_is_robust_in_the_published_forms_alone():
    destroyed = Pair(0.4, 0.0)
    assert formulas.quantization(destroyed) == 1.0
    assert formulas.symmetric_quantization(destroyed) == 0.0
    assert formulas.relearning(destroyed, Pair(0.1, 0.3)) == 1.0  # the gain is −.4: no denominator
    assert formulas.symmetric_relearning(destroyed, Pair(0.1, 0.3)) == 0.0  # |−.4 − .2| = .4 + .2


def test_what_the_retain_model_loses_is_not_counted_below_zero():
    assert formulas.relearning(Pair(0.1, 0.5), Pair(0.3, 0.1)) == 0.0


def test_what_returns_from_nothing_is_not_robust_in_either_form():
    assert formulas.quantization(Pair(0.0, 0.3)) == 0.0
    assert formulas.symmetric_quantization(Pair(0.0, 0.3)) == 0.0


@given(PAIRS, PAIRS)
def test_every_form_lies_between_zero_and_one(unlearned, retain):
    found = [
        formulas.quantization(unlearned),
        formulas.symmetric_quantization(unlearned),
        formulas.relearning(unlearned, retain),
        formulas.symmetric_relearning(unlearned, retain),
    ]
    assert all(0.0 <= form <= 1.0 for form in found)
    assert 0.0 <= formulas.combined(found) <= 1.0


@given(PAIRS, PAIRS)
def test_symmetric_forms_are_symmetric_and_no_attack_is_survived_by_more_than_in_the_published_forms(first, second):
    assert formulas.symmetric_quantization(first) == formulas.symmetric_quantization(Pair(*reversed(first)))
    assert formulas.symmetric_relearning(first, second) == formulas.symmetric_relearning(second, first)
    # a/b ≤ 2a/(a + b) for a ≤ b: where knowledge returns, the published form is the stricter one.
    if first.before < first.after:
        assert formulas.quantization(first) <= formulas.symmetric_quantization(first) + 1e-12


@given(KNOWN, KNOWN)
def test_an_attack_that_changes_nothing_leaves_every_metric_robust(unlearned, retain):
    same, control = Pair(unlearned, unlearned), Pair(retain, retain)
    assert formulas.quantization(same) == 1.0
    assert formulas.symmetric_quantization(same) == 1.0
    assert formulas.relearning(same, control) == 1.0
    assert formulas.symmetric_relearning(same, control) == 1.0


@given(POOLS, POOLS)
def test_swapped_pools_turn_faithfulness_around(knowing, ignorant):
    straight, swapped = formulas.faithfulness(knowing, ignorant), formulas.faithfulness(ignorant, knowing)
    assert straight + swapped == pytest.approx(1.0)


def test_faithfulness_of_an_example():
    # Of 2 × 2 pairs .9 is above both, .4 above .2 and equal to .4: (2 + 1 + ½) / 4.
    assert formulas.faithfulness([0.9, 0.4], [0.2, 0.4]) == pytest.approx(3.5 / 4)
    assert formulas.faithfulness([], [0.2]) is None
    assert formulas.faithfulness([0.2], []) is None


def test_the_threshold_is_the_cut_with_the_best_balanced_accuracy():
    # Between .3 and .7 two of two knowing models are above and three of four ignorant ones below.
    assert formulas.threshold([0.7, 0.9], [0.1, 0.2, 0.3, 0.95]) == pytest.approx(0.5)
    assert formulas.threshold([0.9], [0.1]) == pytest.approx(0.5)
    assert formulas.threshold([0.4], [0.4]) == 0.4


def test_of_cuts_that_are_equally_good_the_lowest_counts():
    # Above .25 both knowing models and one of two ignorant ones: 1 + ½; above .65 one knowing and no ignorant: ½ + 1.
    assert formulas.threshold([0.3, 0.8], [0.2, 0.5]) == pytest.approx(0.25)


@given(POOLS, POOLS)
def test_no_other_cut_is_better(knowing, ignorant):
    def right(cut):
        above = sum(value > cut for value in knowing) / len(knowing)
        return above + sum(value <= cut for value in ignorant) / len(ignorant)

    found = formulas.threshold(knowing, ignorant)
    inner = [value for value in {*knowing, *ignorant} if value < max(*knowing, *ignorant)]
    assert all(right(found) >= right(cut) - 1e-12 for cut in inner)


def test_a_mean_of_nothing_is_missing_and_a_zero_decides():
    assert formulas.mean([]) is None
    assert formulas.mean([0.2, 0.4]) == pytest.approx(0.3)
    assert formulas.combined([]) is None
    assert formulas.combined([0.5, None]) is None
    assert formulas.combined([0.0, 1.0]) == 0.0


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=5))
def test_a_harmonic_mean_lies_between_the_least_and_the_arithmetic_mean(parts):
    found = formulas.combined(parts)
    assert min(parts) * (1 - 1e-12) <= found <= math.fsum(parts) / len(parts) * (1 + 1e-12)
