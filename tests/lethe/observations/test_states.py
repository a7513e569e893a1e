import numpy as np
import pytest

from lethe import residuals
from tests.encoded import collated
from tests.looking import questions, seen, subjects
from tests.tiny import tiny_model


def test_true_answers_stand_beside_the_false_ones_of_their_question():
    found = seen("states", subjects(tiny_model(2)))
    assert found.columns["row"] == list(range(36))
    assert found.columns["is_true"] == [True, False, False] * 12
    assert found.columns["place"] == [place for place in range(12) for _ in range(3)]


@pytest.mark.parametrize(("row", "place", "false"), [(0, 0, None), (16, 5, 0)])
def test_a_row_of_the_vectors_is_the_state_at_the_end_of_its_answer(row, place, false):
    given, asked = subjects(tiny_model(2)), questions()[place]
    answer = asked.answer if false is None else asked.false_answers[false]
    found = seen("states", given).vectors
    assert {name: vectors.shape for name, vectors in found.items()} == dict.fromkeys(given.models, (2, 36, 32))
    for name in given.models:
        alone = residuals.at_the_end(given.models[name], collated([answer]))[:, 0].numpy()
        np.testing.assert_allclose(found[name][:, row], alone, rtol=1e-3, atol=1e-4)
