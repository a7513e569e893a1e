import numpy as np

from lethe import scores
from lethe.records import TEXT, Records
from lethe.scores import Score
from tests.synthetic_records import generation, likelihood


def test_a_question_without_a_number_is_unscored_and_a_text_in_chunks_gets_the_mean():
    said = Records([likelihood([-1.0], id="b"), likelihood([-1.0], id="a")], [generation("x", "y", id="c")])
    found = scores.per_question(said, [("b", 0.2), ("b", 0.4), ("c", 1.0)])
    assert found.ids == ("a", "b", "c")
    np.testing.assert_allclose(found.numbers, [np.nan, 0.3, 1.0])
    assert (found.n, found.unscored) == (2, 1)
    assert found.mean == 0.65


def test_the_mean_of_nothing_is_not_a_number():
    assert np.isnan(scores.per_question(Records([], []), []).mean)


def test_a_leaf_has_six_significant_digits_however_small_the_number():
    leaf = Score(1.0635896769518578e-239, None, 1 / 3, 7, 1).as_json()
    assert leaf == {"value": 1.06359e-239, "low": None, "high": 0.333333, "n": 7, "unscored": 1}


def test_every_split_but_the_three_known_ones_asks_about_utility():
    assert scores.is_utility("world_facts")
    assert not any(map(scores.is_utility, ("forget", "retain", "holdout")))


def test_more_splits_about_forget_are_no_utility():
    assert scores.is_forget("forget")
    assert scores.is_forget("forget_level1")
    assert not any(map(scores.is_forget, ("retain", "forgetting", "world_facts")))
    assert not scores.is_utility("forget_level1")


def test_texts_and_questions_are_all_records():
    said = Records(
        [likelihood([-1.0], id="q"), likelihood([-1.0], id="t", kind=TEXT)],
        [generation("a", "a", id="q"), generation("b", "b", id="t", prompt=TEXT)],
    )
    for found, identity in ((scores.questions(said), "q"), (scores.texts(said), "t")):
        assert [item.id for item in (*found.likelihoods, *found.generations)] == [identity] * 2


def test_what_was_not_asked_stays_on_forget_alone():
    nothing = scores.per_question(Records([], []), [])
    for split, names in (("forget", ["m"]), ("forget_texts", []), ("retain", [])):
        said = Records([likelihood([-1.0], split=split)], [])
        assert list(scores.where_asked({"m": nothing}, said)) == names
