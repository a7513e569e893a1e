import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import knowledge_memorization
from lethe.metrics.knowledge_memorization import Config
from lethe.records import TEXT, Records
from tests.synthetic_records import generation, likelihood

MUSE = Config(mode="muse")


def score(reference, text, mode="muse"):
    said = Records([], [generation(reference, text)])
    return knowledge_memorization.compute(said, Config(mode=mode))["knowledge_memorization"].numbers[0]


def test_it_is_the_f1_of_words_as_they_stand_and_of_stems_in_the_mode_of_openunlearning():
    # In order: the, on, mat are 3 of 6 true and 7 said words: F1 = 2·3/13. With stems cat, too: 2·4/13.
    reference, said = "the cat sat on the mat", "the cats sitting on a mat today"
    assert score(reference, said) == pytest.approx(6 / 13)
    assert score(reference, said, "openunlearning") == pytest.approx(8 / 13)


def test_saying_more_than_the_answer_costs():
    # One of one true word, one of five said ones: F1 = 2·1/6, where the recall is 1.
    assert score("Yes", "Yes he did and more") == pytest.approx(1 / 3)


@pytest.mark.parametrize("tail", ["\n\nAnd", "\nQuestion 2", " Question: who?", "\n\nQuestion: who?"])
def test_what_the_model_asks_itself_is_cut_off(tail):
    assert score("In Turin", f"In Turin{tail}") == 1.0


def test_an_empty_answer_is_zero_and_one_never_given_is_unscored():
    assert score("Turin", "") == 0.0
    found = knowledge_memorization.compute(Records([likelihood([-1.0])], []), MUSE)["knowledge_memorization"]
    assert (found.n, found.unscored) == (0, 1)


def test_texts_are_not_asked():
    said = Records([likelihood([-1.0], kind=TEXT, id="t")], [generation("a b", "a b", id="t", prompt=TEXT)])
    assert knowledge_memorization.compute(said, MUSE)["knowledge_memorization"].ids == ()


@given(st.text("abc yz1 ", min_size=1).filter(lambda text: text.strip()))
def test_an_answer_has_all_of_itself(reference):
    assert score(reference, reference) == 1.0
    assert np.isnan(score("Москва", reference))
