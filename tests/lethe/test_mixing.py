import math

from lethe import mixing


def budget(**changes):
    return mixing.Budget(**{"perplexity_ratio": 1.3, "largest": 1.0, "halvings": 5, "bisections": 3} | changes)


def test_the_largest_strength_within_the_budget_is_taken():
    # 1 + s ≤ 1.3: 1 and 1/2 are too far, 1/4 is not; then 3/8 and 5/16 are, and 9/32 is not.
    assert mixing.within(lambda strength: 1 + strength, budget()) == 9 / 32


def test_a_strength_that_uses_the_budget_up_is_within_it():
    # 1 + s ≤ 5/4: 1/4 is, and nothing beyond; ≤ 11/8: so is the 3/8 between 1/4 and 1/2.
    assert mixing.within(lambda strength: 1 + strength, budget(perplexity_ratio=1.25)) == 1 / 4
    assert mixing.within(lambda strength: 1 + strength, budget(perplexity_ratio=1.375)) == 3 / 8


def test_the_largest_is_halved_so_often_and_no_oftener():
    tried = []
    assert mixing.within(lambda strength: (tried.append(strength), 2.0)[1], budget(largest=3.0, halvings=2)) == 0
    assert tried == [3.0, 1.5, 0.75]


def test_it_is_told_where_a_limit_of_the_search_decided_and_not_the_budget(caplog):
    mixing.tell_bounds(1.0, budget(), "unlearn x")
    mixing.tell_bounds(0.0, budget(halvings=2), "unlearn x")
    mixing.tell_bounds(9 / 32, budget(), "unlearn x")
    above, below = [record.getMessage() for record in caplog.records]
    assert above.startswith("unlearn x: the search ended at search.largest, 1, with the perplexity still within")
    assert below.startswith("unlearn x: even 0.25, search.largest after 2 halvings, takes the perplexity beyond")


def test_nothing_is_taken_where_nothing_is_within_the_budget_and_all_where_all_is():
    assert mixing.within(lambda strength: 2.0, budget(halvings=2)) == 0
    assert mixing.within(lambda strength: math.nan, budget(halvings=2)) == 0
    assert mixing.within(lambda strength: 1.0, budget()) == 1
