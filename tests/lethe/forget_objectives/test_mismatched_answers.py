import math

import pytest
from pydantic import ValidationError

from lethe.forget_objectives import mismatched_answers
from lethe.losses import Context
from tests.logit_table import answers, assigning

NOTHING = Context(reference=None, seed=0)


def config(kind, draws):
    return mismatched_answers.Config(substitute={"kind": kind, "candidates": 8, "draws": draws})


def test_all_wrong_answers_of_a_question_are_learnt_alike():
    # Two wrong answers of one token, 1/2 and 1/8, to one question: (1 + 3) log 2 / 2. The true answer does not count.
    batch = answers(1, draws=2)
    for true in (0.1, 0.9):
        model = assigning(batch, [true, 1 / 2, 1 / 8])
        found = mismatched_answers.loss(model, batch, config("retain_answer", 2), NOTHING)
        assert found.item() == pytest.approx(2 * math.log(2), rel=1e-6)


def test_every_wrong_answer_counts_the_same_whatever_its_length():
    # Means of 1 and of 3 tokens: (1 + 3) log 2 / 2, not (1 + 3 × 3) log 2 / 4.
    batch = answers(1, 3, draws=1)
    model = assigning(batch, [0.9] * 4 + [1 / 2, 1 / 8, 1 / 8, 1 / 8])
    found = mismatched_answers.loss(model, batch, config("retain_answer", 1), NOTHING)
    assert found.item() == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", ["forget_answer", "retain_answer", "alternate"])
def test_wrong_answers_may_come_from_three_places(kind):
    assert config(kind, 1).substitute.kind == kind


def test_a_refusal_is_no_wrong_answer():
    with pytest.raises(ValidationError, match="'retain_answer'"):
        config("refusal", 1)
