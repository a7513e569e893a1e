import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import exact_memorization, extraction_strength
from lethe.metrics.extraction_strength import Config, released_strength, strength
from lethe.records import Records
from tests.synthetic_records import likelihood


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([1, 2, 3, 4], 1.0),  # all four
        ([9, 2, 3, 4], 0.75),  # the last three of four
        ([1, 9, 3, 4], 0.5),  # the last two
        ([1, 2, 3, 9], 0.0),  # the last token is missed: nothing, not the 1/4 of the released code
        ([9, 9, 9, 9], 0.0),
    ],
)
def test_it_is_the_share_of_the_longest_suffix_of_hits(predicted, expected):
    hits = (np.array(predicted) == [1, 2, 3, 4]).tolist()
    said = Records([likelihood([-1.0] * 4, hits=hits)], [])
    found = extraction_strength.compute(said, Config(drop_eos="never", mode="exact"))
    assert found["extraction_strength"].numbers == [expected]


@pytest.mark.parametrize("predicted", [[1, 2, 3, 9], [9, 9, 9, 9]])
def test_the_released_code_finds_one_token_of_four_where_the_last_is_missed(predicted):
    hits = (np.array(predicted) == [1, 2, 3, 4]).tolist()
    said = Records([likelihood([-1.0] * 4, hits=hits)], [])
    found = extraction_strength.compute(said, Config(drop_eos="never", mode="openunlearning"))
    assert found["extraction_strength"].numbers == [1 / 4]


@pytest.mark.parametrize(("mode", "n", "mean"), [("exact", 1, 1.0), ("openunlearning", 2, 0.5)])
def test_an_empty_target_is_unscored_and_0_in_the_released_code(mode, n, mean):
    # The only token of the second answer is the closing one, which does not count.
    said = Records([likelihood([-1.0, -1.0]), likelihood([-1.0], id="q1", ends_turn=True)], [])
    config = Config(drop_eos="if_ends_turn", mode=mode)
    found = extraction_strength.compute(said, config)["extraction_strength"]
    assert (found.n, found.mean) == (n, mean)


@given(st.lists(st.booleans(), min_size=1))
def test_it_is_never_above_exact_memorization_and_equal_only_to_a_suffix_scan(hits):
    suffix = 0
    for hit in reversed(hits):
        if not hit:
            break
        suffix += 1
    found = strength(np.array(hits))
    assert found == suffix / len(hits)
    assert found <= exact_memorization.memorized(np.array(hits))
    assert released_strength(np.array(hits)) == (found or 1 / len(hits))
