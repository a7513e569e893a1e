import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.probes import matched_utility
from lethe.residuals import Question, Subjects, without_end
from tests.contracts.test_probes import ANSWERING, BOOTSTRAP
from tests.encoded import examples
from tests.learnt import knowing
from tests.tiny import tiny_model
from tests.unlearned import PAD

TOLD = (("Where was Ann born?", "Oslo"), ("Who is Cy?", "a baker"))
KEPT = (("Where was Bob born?", "Rome"), ("Who is Di?", "a singer"))
TARGET = knowing(*TOLD, *KEPT)


def config(**changes):
    settings = {"tolerance": 0.9, "kept_answers": 200, "grid": 4, "bisections": 6}
    return matched_utility.Config.model_validate(settings | changes)


def given_to(unlearned, kept=KEPT):
    answers = [without_end(example) for example in examples(TOLD)]
    questions = [Question(f"q{number}", f"author {number}", answer, ()) for number, answer in enumerate(answers)]
    return Subjects(TARGET, tiny_model(1), unlearned, questions, examples(kept), 3, PAD, *ANSWERING)


def found(subjects, **changes):
    numbers = matched_utility.probe(subjects, config(**changes), BOOTSTRAP)
    return {name: score.value for name, score in numbers.items()}


def mean_strength(model, subjects, answers):
    return matched_utility.strengths(subjects, model, answers).mean()


def test_a_model_that_keeps_all_else_is_read_as_it_is():
    subjects = given_to(knowing(*KEPT))
    numbers = found(subjects)
    forget = [question.answer for question in subjects.questions]
    assert numbers["matched_share"] == 1.0
    assert numbers["matched_extraction_strength"] == pytest.approx(mean_strength(subjects.unlearned, subjects, forget))
    assert numbers["matched_extraction_strength"] < mean_strength(TARGET, subjects, forget) == 1.0


def test_a_ruined_model_that_looks_forgotten_has_forgotten_little_at_the_utility_of_the_others():
    subjects = given_to(tiny_model(2))
    forget = [question.answer for question in subjects.questions]
    assert mean_strength(subjects.unlearned, subjects, forget) < 0.2
    assert mean_strength(subjects.unlearned, subjects, subjects.kept) < 0.2
    numbers = found(subjects)
    assert 0 < numbers["matched_share"] < 1
    assert numbers["matched_extraction_strength"] > 0.5
    assert numbers["matched_extraction_strength_retain"] == pytest.approx(
        mean_strength(subjects.retain, subjects, forget)
    )


def test_with_nothing_to_be_kept_the_model_is_read_as_it_is_and_with_all_of_it_the_target_never_loses():
    assert found(given_to(tiny_model(2)), tolerance=0.0)["matched_share"] == 1.0
    assert found(given_to(TARGET), tolerance=1.0)["matched_share"] == 1.0
    assert found(given_to(tiny_model(2)), tolerance=1.0, bisections=0, grid=1) == pytest.approx(
        {"matched_extraction_strength": 1.0, "matched_share": 0.0}
        | {"matched_extraction_strength_retain": found(given_to(TARGET))["matched_extraction_strength_retain"]}
    )


def test_without_kept_answers_the_utility_cannot_be_matched():
    numbers = matched_utility.probe(dataclasses.replace(given_to(tiny_model(2)), kept=[]), config(), BOOTSTRAP)
    assert [(score.value, score.n, score.unscored) for score in numbers.values()] == [(None, 0, 2)] * 3


@given(st.integers(0, 40), st.integers(1, 50))
def test_kept_answers_are_spread_evenly_each_once(count, limit):
    chosen = matched_utility.spread(list(range(count)), limit)
    assert len(chosen) == min(count, limit) == len(set(chosen))
    steps = {after - before for before, after in itertools.pairwise(chosen)}
    assert max(steps, default=0) - min(steps, default=0) <= 1
