import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import choices, inference, splits
from lethe.attacks import none
from lethe.batches import Encoding
from lethe.metrics import choice_accuracy
from lethe.sources import jsonl, world
from tests import asking
from tests.tiny import tiny_model, tiny_tokenizer

OPTIONS = ["Oslo", "Turin", "Rome", "Bern"]


def shifted(options, right):
    return choices.shifted_rows("Where?", options, right, identity="q", cluster="c", subset="towns")


def test_the_second_shift_of_four_by_hand():
    # Shift 1 begins with Turin; Rome, the right one, is then the second.
    row = shifted(OPTIONS, 2)[1]
    assert row.question == "Where?\nA. Turin\nB. Rome\nC. Bern\nD. Oslo"
    assert (row.id, row.answer, row.perturbed_answers) == ("q-shift1", "B", ("A", "C", "D"))
    assert row.subset == "towns_by_letter"
    assert choices.is_by_letter(row.subset)
    assert not choices.is_by_letter("forget_level3_multiple_choice")  # RWKU asks for the words


@given(st.integers(2, 7), st.data())
def test_behind_the_right_letter_stands_the_right_option_and_every_letter_is_right_once(size, data):
    options = [f"town {number}" for number in range(size)]
    right = data.draw(st.integers(0, size - 1))
    rows = shifted(options, right)
    for row in rows:
        lines = dict(line.split(". ") for line in row.question.split("\n")[1:])
        assert lines[row.answer] == options[right]
        assert sorted(lines.values()) == sorted(options)
        assert sorted([row.answer, *row.perturbed_answers]) == sorted(lines)
    assert sorted(row.answer for row in rows) == list(choices.LETTERS[:size])


@pytest.mark.parametrize(("options", "right"), [(["a"], 0), (["a", "a"], 0), (["a", "b"], 2), (list("ab" * 14), 0)])
def test_what_is_no_multiple_choice_is_refused(options, right):
    with pytest.raises(ValueError, match="two to 26 different choices"):
        shifted(options, right)


def test_the_point_is_shared_among_the_likeliest_and_unknown_where_one_is():
    assert choices.point(-1.0, [-2.0, -3.0]) == 1.0
    assert choices.point(-2.0, [-1.0, -3.0]) == 0.0
    assert choices.point(-1.0, [-1.0, -1.0, -2.0]) == 1 / 3
    assert math.isnan(choices.point(-1.0, [math.nan]))
    assert math.isnan(choices.point(math.nan, [-1.0]))


def test_the_task_of_the_shipped_world_is_asked_by_letters_and_a_model_that_knows_nothing_guesses(tmp_path: Path):
    task = world.load(
        world.Config(
            seed=0,
            num_forget_people=1,
            num_retain_people=1,
            num_holdout_people=1,
            num_other_people=1,
            num_general_people=1,
            num_towns=5,
            num_false_answers=3,
        )
    ).tasks["general_facts_choice.jsonl"]
    (tmp_path / "task.jsonl").write_text(task)
    for name in ("forget", "retain"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"The sea of {name}."}))
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("forget", "retain")}
    config = jsonl.Config(**files, holdout=None, utility=str(tmp_path / "task.jsonl"), general=None)
    rows = splits.questions(jsonl.load(config), 1)
    model, tokenizer = tiny_model(), tiny_tokenizer()
    settings = asking.settings(batch_tokens=4096)
    encoding = Encoding(max_length=256, max_new_tokens=2, system_prompt=None)
    conditions = none.conditions(model, none.Config())
    said = inference.ask(model, tokenizer, rows, conditions, encoding, settings).where(split="choices_by_letter")
    found = choice_accuracy.compute(said, choice_accuracy.Config())
    assert len(found["choice_accuracy"].ids) == 4 * len(task.splitlines())
    assert np.isin(found["choice_accuracy"].numbers, [0.0, 0.25, 1 / 3, 0.5, 1.0]).all()
    assert 0 < found["choice_letter_mass"].mean < 0.1  # four of 260 tokens
