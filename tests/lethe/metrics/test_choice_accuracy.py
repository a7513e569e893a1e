import numpy as np
import pytest

from lethe.metrics import choice_accuracy
from lethe.metrics.choice_accuracy import Config
from lethe.records import ANSWER, PERTURBED_ANSWER, Records
from tests.synthetic_records import likelihood


def letters(right, *others, identity="q0", ends_turn=False, split="world_by_letter"):
    fields = {"id": identity, "split": split, "ends_turn": ends_turn}
    tail = [-9.0] if ends_turn else []
    found = [likelihood([np.log(right), *tail], kind=ANSWER, **fields)]
    return found + [
        likelihood([np.log(other), *tail], kind=PERTURBED_ANSWER, index=index, **fields)
        for index, other in enumerate(others)
    ]


def computed(*likelihoods):
    found = choice_accuracy.compute(Records(list(likelihoods), []), Config())
    return {name: values.numbers.tolist() for name, values in found.items()}


def test_the_point_and_the_mass_of_one_question():
    assert computed(*letters(0.4, 0.3, 0.1, 0.1)) == {
        "choice_accuracy": [1.0],
        "choice_letter_mass": [pytest.approx(0.9)],
    }
    assert computed(*letters(0.3, 0.4, 0.1, 0.1))["choice_accuracy"] == [0.0]


def test_letters_that_are_equally_likely_share_the_point():
    assert computed(*letters(0.25, 0.25, 0.25, 0.25))["choice_accuracy"] == [1 / 4]
    assert computed(*letters(0.3, 0.3, 0.1, 0.1))["choice_accuracy"] == [1 / 2]


def test_a_model_that_always_says_the_first_letter_is_right_once_in_four_shifts():
    # The right letter is A, D, C and B in the four shifts; A has 0.7 whatever is asked.
    shifts = [letters(0.7 if shift == 0 else 0.1, 0.1 if shift == 0 else 0.7, 0.1, 0.1, identity=f"q0-shift{shift}")
              for shift in range(4)]  # fmt: skip
    assert computed(*(item for shift in shifts for item in shift))["choice_accuracy"] == [1.0, 0.0, 0.0, 0.0]


def test_the_end_of_turn_tells_nothing():
    assert computed(*letters(0.4, 0.3, ends_turn=True))["choice_letter_mass"] == [pytest.approx(0.7)]


def test_a_question_of_which_a_side_is_lost_is_unscored_and_other_splits_are_not_asked():
    found = choice_accuracy.compute(Records(letters(0.4, 0.3)[:1], []), Config())["choice_accuracy"]
    assert (found.n, found.unscored) == (0, 1)
    assert choice_accuracy.compute(Records(letters(0.4, 0.3, split="retain"), []), Config()) == {}
    on_forget = choice_accuracy.compute(Records(letters(0.4, 0.3, split="forget"), []), Config())
    assert [(values.n, values.unscored) for values in on_forget.values()] == [(0, 0), (0, 0)]
