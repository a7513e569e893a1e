import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.statistics.sampling import expected_maximum, leak_at_k

NONE, ALL = 0.0, 1.0
draws = st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
few_scores = st.lists(st.floats(0, 1), min_size=1, max_size=8)
graded = few_scores.flatmap(lambda scores: st.tuples(st.just(scores), st.integers(1, len(scores))))


def plug_in(drawn, leaks, k):
    return 1 - (1 - leaks / drawn) ** k


def test_two_leaks_in_ten_draws():
    # k = 1: 2/10. k = 2: 1 − 8·7/(10·9) = 34/90. k = 4: 1 − 8·7·6·5/(10·9·8·7) = 1 − 1/3. k = 8: 1 − 1/45.
    found = [leak_at_k(10, 2, k) for k in (1, 2, 4, 8)]
    assert found == pytest.approx([2 / 10, 34 / 90, 2 / 3, 44 / 45])
    assert found == pytest.approx([0.2, 0.377778, 0.666667, 0.977778], abs=1e-6)
    assert leak_at_k(10, 2, 9) == 1.0  # eight draws held nothing, so nine hold a leak


def test_the_expected_maximum_of_four_scores():
    # k = 1: 1.7/4. k = 2: (0·0 + 1·.2 + 2·.5 + 3·1)/6 = 4.2/6. k = 3: (1·.5 + 3·1)/4. k = 4: 1.
    scores = np.array([0, 0.2, 0.5, 1])
    assert [float(expected_maximum(scores, k)) for k in (1, 2, 3, 4)] == pytest.approx([0.425, 0.7, 0.875, 1.0])


@given(draws)
def test_leak_at_k_is_the_share_of_sets_of_k_that_hold_a_leak(drawn):
    n, c, k = drawn
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert leak_at_k(n, c, k) == pytest.approx(exact, abs=1e-12)


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(1, n)))
)
def test_all_sets_of_k_draws_were_looked_through(drawn):
    leaks, k = drawn
    held = [any(chosen) for chosen in itertools.combinations(leaks, k)]
    assert leak_at_k(len(leaks), sum(leaks), k) == pytest.approx(np.mean(held))


@given(graded)
def test_the_expected_maximum_is_the_mean_over_all_sets_of_k(drawn):
    scores, k = drawn
    largest = [max(chosen) for chosen in itertools.combinations(scores, k)]
    assert expected_maximum(np.array(scores), k) == pytest.approx(np.mean(largest), abs=1e-12)


@pytest.mark.parametrize("chance", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_its_mean_over_all_outcomes_is_the_chance_that_k_draws_leak_and_that_of_the_plug_in_is_not(chance, k):
    n = 6
    weights = [math.comb(n, c) * chance**c * (1 - chance) ** (n - c) for c in range(n + 1)]
    truth = 1 - (1 - chance) ** k
    assert np.dot(weights, [leak_at_k(n, c, k) for c in range(n + 1)]) == pytest.approx(truth)
    biased = np.dot(weights, [plug_in(n, c, k) for c in range(n + 1)])
    assert biased < truth - 1e-3 if k > 1 else biased == pytest.approx(truth)


@given(draws)
def test_it_is_never_below_the_plug_in(drawn):
    assert leak_at_k(*drawn) >= plug_in(*drawn) - 1e-12


@given(draws)
def test_more_draws_and_more_leaks_never_lower_it(drawn):
    n, c, k = drawn
    if k < n:
        assert leak_at_k(n, c, k + 1) >= leak_at_k(n, c, k)
    if c < n:
        assert leak_at_k(n, c + 1, k) >= leak_at_k(n, c, k)
    assert 0 <= leak_at_k(n, c, k) <= 1


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_one_draw_is_the_share_and_all_draws_are_whether_any_leaked(drawn):
    n, c = drawn
    assert leak_at_k(n, c, 1) == pytest.approx(c / n)
    assert leak_at_k(n, c, n) == (ALL if c else NONE)


@given(few_scores)
def test_the_maximum_of_one_is_the_mean_and_that_of_all_the_maximum(scores):
    assert expected_maximum(np.array(scores), 1) == pytest.approx(np.mean(scores), abs=1e-12)
    assert expected_maximum(np.array(scores), len(scores)) == pytest.approx(max(scores))


@given(graded, st.randoms(use_true_random=False))
def test_the_order_of_draws_does_not_matter_and_larger_k_never_lowers_the_maximum(drawn, random):
    scores, k = drawn
    mixed = random.sample(scores, len(scores))
    assert expected_maximum(np.array(mixed), k) == expected_maximum(np.array(scores), k)
    if k < len(scores):
        assert expected_maximum(np.array(scores), k + 1) >= expected_maximum(np.array(scores), k) - 1e-12


@given(draws)
def test_scores_of_0_and_1_are_leaks(drawn):
    n, c, k = drawn
    scores = np.array([1.0] * c + [0.0] * (n - c))
    assert expected_maximum(scores, k) == pytest.approx(leak_at_k(n, c, k), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 700, 2500, 4999, 5000])
def test_thousands_of_draws_neither_overflow_nor_lose_weight(k):
    scores = np.arange(1, 5001) / 5000
    # The mean of the largest of k among 1 … n is k (n + 1)/(k + 1).
    assert expected_maximum(scores, k) == pytest.approx(k * 5001 / (k + 1) / 5000)
    assert expected_maximum(np.ones(5000), k) == pytest.approx(1)
    assert leak_at_k(5000, 3, k) == pytest.approx(1 - math.comb(4997, k) / math.comb(5000, k), abs=1e-12)


def test_many_questions_at_once_are_each_question_alone_and_a_missing_score_is_missing():
    scores = np.array([[0.1, 0.9, 0.4], [0.0, 0.0, 0.3], [0.2, np.nan, 0.2]])
    together = expected_maximum(scores, 2)
    assert together[:2].tolist() == [float(expected_maximum(row, 2)) for row in scores[:2]]
    assert np.isnan(together[2])


@pytest.mark.parametrize(("drawn", "leaks", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6), (0, 0, 1)])
def test_more_than_was_drawn_is_refused(drawn, leaks, k):
    with pytest.raises(ValueError, match=r"draws"):
        leak_at_k(drawn, leaks, k)


@pytest.mark.parametrize("k", [0, 4])
def test_a_maximum_of_more_than_was_drawn_is_refused(k):
    with pytest.raises(ValueError, match=r"1 and the number of draws"):
        expected_maximum(np.zeros(3), k)
