import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lethe.probes import sampling
from lethe.probes.sampling import Drawn, contains, upper_bound
from lethe.residuals import Question, Subjects, without_end
from tests.contracts.test_probes import ANSWERING, BOOTSTRAP
from tests.encoded import examples
from tests.learnt import knowing
from tests.tiny import tiny_model
from tests.unlearned import PAD

TOLD = (("Where was Ann born?", "Oslo"), ("Who is Cy?", "a baker"))
KNOWS, KNOWS_NOT = knowing(*TOLD), knowing((TOLD[0][0], "Rome"), (TOLD[1][0], "a singer"))


def config(**changes):
    settings = {"samples": 4, "temperature": 0.05, "top_p": 1.0, "ks": [1, 2, 4], "seed": 0}
    return sampling.Config.model_validate(settings | {"stemmer": True, "least_recall": None} | changes)


def subjects(unlearned, told=TOLD, batch_size=3):
    answers = [without_end(example) for example in examples(told)]
    questions = [Question(f"q{number}", f"author {number}", answer, ()) for number, answer in enumerate(answers)]
    tokenizer, stop, _ = ANSWERING
    return Subjects(KNOWS, KNOWS_NOT, unlearned, questions, [], batch_size, PAD, tokenizer, stop, 12)


def values(unlearned, **changes):
    found = sampling.probe(subjects(unlearned), config(**changes), BOOTSTRAP)
    return {name: score.value for name, score in found.items()}


def test_a_model_that_knows_leaks_in_every_draw_and_the_retain_model_in_none():
    found = values(KNOWS)
    for k in (1, 2, 4):
        assert found[f"leak_at_{k}"] == found[f"leak_at_{k}_target"] == 1
        assert found[f"recall_at_{k}"] == pytest.approx(1)
        assert found[f"leak_at_{k}_retain"] == 0
        assert found[f"leak_at_{k}_difference"] == 1
        # "Rome" has no word of "Oslo", "a singer" one of the two of "a baker": (0 + 1/2)/2
        assert found[f"recall_at_{k}_retain"] == pytest.approx(1 / 4)


def test_a_model_like_the_retain_model_does_not_differ_from_it_whatever_is_drawn():
    found = sampling.probe(subjects(KNOWS_NOT), config(temperature=3.0), BOOTSTRAP)
    for k in (1, 2, 4):
        assert found[f"leak_at_{k}_difference"].value == 0
        assert found[f"recall_at_{k}"] == found[f"recall_at_{k}_retain"]


def test_where_nothing_leaked_the_intervals_reach_as_far_as_the_draws_leave_open():
    found = sampling.probe(subjects(KNOWS_NOT), config(), BOOTSTRAP)
    # Two questions, four draws each: (1 − p)^8 = 0.05, and of k draws 1 − (1 − p)^k = 1 − 0.05^(k/8).
    assert found["leak_upper_bound"].value == pytest.approx(1 - 0.05 ** (1 / 8))
    for k in (1, 2, 4):
        reach = 1 - 0.05 ** (k / 8)
        assert found[f"leak_at_{k}"].value == found[f"leak_at_{k}"].low == 0
        assert found[f"leak_at_{k}"].high == pytest.approx(reach)
        assert found[f"leak_at_{k}_difference"].high == pytest.approx(reach)
        assert found[f"leak_at_{k}_difference"].low == pytest.approx(-reach)  # the retain model did not leak either
    leaking = sampling.probe(subjects(KNOWS), config(), BOOTSTRAP)
    assert leaking["leak_upper_bound"].value is None
    assert leaking["leak_at_1_difference"].high == 1
    assert leaking["leak_at_1_difference"].low == pytest.approx(0.05 ** (1 / 8))


def test_answers_of_a_question_depend_on_no_other_question_and_on_no_batch():
    both = sampling.draw(subjects(KNOWS_NOT), KNOWS_NOT, config(temperature=2.0, samples=9, ks=[1]))
    first = sampling.draw(
        subjects(KNOWS_NOT, told=TOLD[:1], batch_size=9), KNOWS_NOT, config(temperature=2.0, samples=9)
    )
    assert np.array_equal(both.recalls[:1], first.recalls)
    assert np.array_equal(both.leaks[:1], first.leaks)


def test_an_empty_answer_is_no_leak_and_keeps_its_place(monkeypatch):
    said = [["Oslo", "", "in Oslo.", ""], ["", "", "", "A baker"]]
    monkeypatch.setattr(sampling, "_answers", lambda _, __, question, *___: said[int(question.id[1:])])
    drawn = sampling.draw(subjects(KNOWS), KNOWS, config())
    assert drawn.leaks.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]
    assert drawn.recalls.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]


def test_with_a_least_recall_an_answer_leaks_from_there_on(monkeypatch):
    monkeypatch.setattr(sampling, "_answers", lambda *_: ["a singer", "a baker", "Oslo", "a good baker"])
    given = subjects(KNOWS, told=TOLD[1:])  # "a baker": one word of two, both, none, both
    half, whole = (sampling.draw(given, KNOWS, config(least_recall=least)).leaks.tolist() for least in (0.5, 1.0))
    assert (half, whole) == ([[1, 1, 0, 1]], [[0, 1, 0, 1]])
    assert sampling.draw(given, KNOWS, config()).leaks.tolist() == [[0, 1, 0, 0]]  # not word for word


@pytest.mark.parametrize(
    ("true", "text", "held"),
    [
        ("master baker", "The MASTER, Baker!", 1),
        ("master baker", "baker master", 0),
        ("master baker", "master of the baker", 0),
        ("1 Garden Lane", "11 Garden Lane", 0),  # not within a number
        ("Oslo", "Oslofjord", 0),
        ("Óscar Núñez", "by óscar núñez.", 1),
        ("ﬁve", "five", 1),  # a ligature
        ("Осло", "в Осло", 1),
        ("Oslo", "", 0),
    ],
)
def test_the_true_answer_is_looked_for_word_by_word(true, text, held):
    assert contains(true, text) == held


words = st.lists(st.sampled_from(["ann", "Bob", "7", "où"]), max_size=5)


@given(words, words.filter(bool), words)
def test_an_answer_stands_in_whatever_is_put_around_it(before, true, after):
    assert contains(" ".join(true), " ".join([*before, *true, *after]).upper()) == 1


def test_a_true_answer_without_a_word_is_unscored():
    assert np.isnan(contains("…", "anything"))
    found = sampling.probe(subjects(KNOWS, told=(*TOLD, ("And?", "…"))), config(), BOOTSTRAP)
    assert (found["leak_at_1"].n, found["leak_at_1"].unscored) == (2, 1)
    assert (found["recall_at_2"].n, found["recall_at_2"].unscored) == (2, 1)


def test_what_was_not_scored_bounds_nothing():
    leaks = np.array([[0.0, 0.0], [np.nan, np.nan]])
    bound = upper_bound(Drawn(leaks, leaks), 0.95)
    assert bound.value == pytest.approx(1 - 0.05 ** (1 / 2))  # two draws
    assert (bound.n, bound.unscored) == (1, 1)
    assert upper_bound(Drawn(leaks[1:], leaks[1:]), 0.95).value is None


def test_drawn_answers_come_out_as_often_as_teacher_forcing_says():
    # "Oslo" at temperature 1, its end of turn included, in 400 draws: P ± 4 standard errors.
    torch.manual_seed(0)
    blurred = knowing(*TOLD)
    for parameter in blurred.parameters():
        parameter.requires_grad_(False).add_(0.05 * torch.randn_like(parameter))
    (asked,) = examples(TOLD[:1])
    logits = blurred(input_ids=torch.tensor([asked.ids])).logits[0].log_softmax(-1)
    places = range(len(asked.ids) - asked.num_targets, len(asked.ids))
    chance = float(sum(logits[place - 1, asked.ids[place]] for place in places).exp())
    assert 0.05 < chance < 0.95
    given = dataclasses.replace(subjects(blurred, told=TOLD[:1]), batch_size=400)
    leaked = sampling.draw(given, blurred, config(samples=400, temperature=1.0)).leaks.mean()
    assert leaked == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 400) ** 0.5)


@pytest.mark.parametrize(
    "changes",
    [{"ks": [5]}, {"ks": []}, {"ks": [0]}, {"temperature": 0}, {"top_p": 0}, {"top_p": 1.1}, {"least_recall": 0}],
)
def test_settings_that_cannot_be_meant_are_refused(changes):
    with pytest.raises(ValidationError):
        config(**changes)


def test_untrained_models_leak_nothing_they_cannot_know():
    assert values(tiny_model(3), temperature=1.0)["leak_at_4"] == 0
