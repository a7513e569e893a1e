import numpy as np
import pytest

from lethe.metrics import exact_memorization
from lethe.metrics.exact_memorization import Config
from lethe.records import Records
from tests.synthetic_records import likelihood


def test_it_is_the_share_of_tokens_that_are_first_choices():
    # 2 of 5
    said = Records([likelihood([-1.0] * 5, hits=[True, False, False, True, False])], [])
    assert exact_memorization.compute(said, Config(drop_eos="never"))["exact_memorization"].numbers == pytest.approx(
        [0.4]
    )


def test_the_end_of_turn_is_left_out_where_asked():
    # without the last hit 1 of 2
    said = Records([likelihood([-1.0] * 3, hits=[True, False, True], ends_turn=True)], [])
    found = exact_memorization.compute(said, Config(drop_eos="if_ends_turn"))["exact_memorization"]
    assert found.numbers == pytest.approx([0.5])


def test_an_answer_that_is_only_an_end_of_turn_is_unscored():
    said = Records([likelihood([-1.0], ends_turn=True)], [])
    found = exact_memorization.compute(said, Config(drop_eos="if_ends_turn"))["exact_memorization"]
    assert np.isnan(found.numbers).tolist() == [True]
    assert (found.n, found.unscored) == (0, 1)
