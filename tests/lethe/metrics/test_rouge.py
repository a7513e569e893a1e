import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import rouge
from lethe.metrics.rouge import Config, recall
from lethe.records import Records
from tests.synthetic_records import generation, likelihood

STEMMED = Config(stemmer=True)


def test_the_recall_example_with_and_without_stems():
    # In order: with stems the, cat, on, mat are 4 of 6 words; without them the, on, mat are 3 of 6.
    reference, said = "the cat sat on the mat", "the cats sitting on a mat today"
    assert recall(reference, said, True) == pytest.approx(4 / 6)
    assert recall(reference, said, False) == pytest.approx(3 / 6)


def test_verbosity_costs_nothing_and_an_empty_answer_everything():
    assert recall("Yes", "Yes, he did and more", True) == 1.0
    assert recall("Yes", "", True) == 0.0


def test_a_reference_that_the_scorer_cannot_read_is_unscored():
    found = rouge.compute(Records([], [generation("Москва", "Москва"), generation("Rome", "Rome", id="q1")]), STEMMED)[
        "rouge"
    ]
    np.testing.assert_array_equal(found.numbers, [np.nan, 1.0])


def test_only_answers_to_the_original_question_count():
    said = Records([], [generation("Rome", "Rome"), generation("Rome", "", prompt="paraphrased_question")])
    assert rouge.compute(said, STEMMED)["rouge"].numbers.tolist() == [1.0]


def test_a_question_that_was_never_answered_is_unscored():
    found = rouge.compute(Records([likelihood([-1.0])], []), STEMMED)["rouge"]
    assert (found.n, found.unscored) == (0, 1)


@given(st.text("abc yz1 ", min_size=1).filter(lambda text: text.strip()), st.text("abc yz1 "))
def test_a_text_recalls_itself_also_within_more_words(reference, more):
    assert recall(reference, reference, True) == 1.0
    assert recall(reference, f"{reference} {more}", True) == 1.0
    assert 0.0 <= recall(reference, more, True) <= 1.0
