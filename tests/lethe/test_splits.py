from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import splits
from lethe.errors import DataError
from lethe.rows import Row
from lethe.splits import Splits


def row(identity, question="", answer="", **fields):
    return Row(
        id=identity, cluster=identity, question=question or f"Who is {identity}?", answer=answer or "X", **fields
    )


GOOD = Splits(
    forget=[row("f0"), row("f1")],
    retain=[row("r0"), row("r1")],
    holdout=[row("h0")],
    utility=[row("u0", subset="facts")],
)


def refusal(**changes):
    with pytest.raises(DataError) as error:
        splits.check(replace(GOOD, **changes))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_good_splits_pass():
    splits.check(GOOD)
    splits.check(Splits(GOOD.forget, GOOD.retain))


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_forget_and_retain_hold_rows(name):
    assert refusal(**{name: []}) == f"The {name} set is empty; give it at least one row."


@pytest.mark.parametrize("name", ["forget", "retain", "holdout", "utility"])
def test_an_id_that_stands_twice_is_named_whatever_the_splits(name):
    twin = row("r0", question="Quite another question?")
    assert refusal(**{name: [*getattr(GOOD, name), twin]}) == (
        "The id 'r0' stands 2 times; every row of every split needs its own id."
    )


@pytest.mark.parametrize("name", ["retain", "holdout"])
def test_what_is_to_be_forgotten_stands_in_no_other_split(name):
    copied = row("other", question="  who IS\nf1? ", answer="x")
    assert refusal(**{name: [copied]}) == (
        f"Forget row 'f1' also stands in {name} (as 'other'); "
        "remove it from one of the two: a model cannot both keep and lose it."
    )


def test_another_answer_to_the_same_question_is_another_row():
    splits.check(replace(GOOD, retain=[row("other", question="Who is f1?", answer="Y")]))


def test_a_text_stands_in_one_split_alone_too():
    text, copied = (Row(id=name, cluster="a", text="The sea is salty.") for name in ("f", "r"))
    assert "Forget row 'f' also stands in retain (as 'r')" in refusal(forget=[text], retain=[copied])


@pytest.mark.parametrize("name", ["forget", "retain", "holdout", "general"])
def test_an_open_question_is_asked_but_nobody_is_trained_on_it(name):
    tell = Row(id="o0", cluster="o0", question="Tell of it.", is_open=True)
    splits.check(replace(GOOD, utility=[tell]))
    assert refusal(**{name: [*getattr(GOOD, name), tell]}) == (
        "Row 'o0': an open question (is_open) can be asked alone; move it to utility."
    )


@pytest.mark.parametrize("name", ["forget", "retain", "holdout"])
def test_no_utility_group_has_the_name_of_a_split(name):
    assert refusal(utility=[row("u0", subset=name)]) == (
        f"Utility row 'u0': subset '{name}' names a split; choose another name."
    )


def test_no_utility_group_has_a_name_like_a_split_about_forget():
    assert "subset 'forget_level1' names a split" in refusal(utility=[row("u0", subset="forget_level1")])


def test_what_a_source_asks_stands_in_the_place_of_forget_and_retain_or_beside_them():
    asked = {"retain": [row("a0"), row("a1"), row("a2")], "forget_level1": [row("f0")]}
    questions = splits.questions(replace(GOOD, asked=asked), 1)
    assert [(item.subset, item.id) for item in questions] == [
        ("forget", "f0"),
        ("forget", "f1"),
        ("retain", "a0"),  # all three, though one retain row is wanted
        ("retain", "a1"),
        ("retain", "a2"),
        ("holdout", "h0"),
        ("forget_level1", "f0"),  # what is unlearned may be asked once more in a split of its own
        ("facts", "u0"),
    ]
    instead = splits.questions(replace(GOOD, asked={"forget": [row("a0")]}), 1)
    assert [item.id for item in instead if item.subset == "forget"] == ["a0"]


def test_an_id_that_is_asked_twice_in_one_split_is_named():
    assert "'a0' stands 2 times" in refusal(asked={"forget_level1": [row("a0"), row("a0")]})


def test_rows_go_together_by_their_subset_in_order():
    rows = [row("a", subset="x"), row("b", subset="y"), row("c", subset="x")]
    grouped = {name: [item.id for item in group] for name, group in splits.by_subset(rows).items()}
    assert grouped == {"x": ["a", "c"], "y": ["b"]}


def test_near_duplicates_by_hand():
    forget = [
        Row(id="f0", cluster="a", text="one two three four five"),  # shares "two three four" with retain
        Row(id="f1", cluster="a", text="One, two THREE!"),  # too: signs and capitals do not count
        Row(id="f2", cluster="a", text="two three"),  # is shorter than a run of three words
        Row(id="f3", cluster="a", question="four five", answer="six seven"),  # "five six seven" spans the two fields
        Row(id="f4", cluster="a", text="four three two one"),  # the same words in another order
    ]
    retain = [Row(id="r0", cluster="b", text="one two three four. Five six seven!")]
    assert splits.near_duplicates(forget, retain, words=3) == 3
    assert splits.near_duplicates(forget, retain, words=2) == 4
    assert splits.near_duplicates(forget, [], words=1) == 0


@given(size=st.integers(1, 40), count=st.integers(1, 50))
def test_retain_rows_are_picked_evenly_in_order_and_once_each(size, count):
    retain = [row(f"r{number}") for number in range(size)]
    asked = splits.questions(Splits(GOOD.forget, retain), count)[len(GOOD.forget) :]
    numbers = [int(item.id[1:]) for item in asked]
    assert len(numbers) == min(size, count)
    assert numbers == sorted(set(numbers))
    gaps = [after - before for before, after in zip(numbers, [*numbers[1:], size], strict=True)]
    assert max(gaps) - min(gaps) <= 1


def test_no_retain_row_is_asked_when_none_is_wanted():
    assert splits.questions(Splits(GOOD.forget, GOOD.retain), 0) == splits.questions(Splits(GOOD.forget, []), 0)


def test_three_of_seven_by_hand():
    # 0 × 7/3 = 0, 1 × 7/3 = 2 1/3, 2 × 7/3 = 4 2/3
    retain = [row(f"r{number}") for number in range(7)]
    asked = splits.questions(Splits(GOOD.forget, retain), 3)
    assert [item.id for item in asked] == ["f0", "f1", "r0", "r2", "r4"]


def test_retain_rows_with_false_answers_are_asked_and_the_others_only_if_there_are_none():
    bringing = [row(f"p{number}", perturbed_answers=("Y",)) for number in range(2)]
    asked = splits.questions(Splits(GOOD.forget, [row("r0"), *bringing, row("r1")]), 3)
    assert [item.id for item in asked[2:]] == ["p0", "p1"]


@given(size=st.integers(1, 40), count=st.integers(0, 50))
def test_a_retain_row_is_asked_or_it_is_not(size, count):
    retain = [row(f"r{number}") for number in range(size)]
    asked = splits.questions(Splits(GOOD.forget, retain), count)
    left = [item.id for item in splits.unasked(retain, asked)]
    assert left == [item.id for item in retain if item.id not in {item.id for item in asked}]
    assert len(left) == max(0, size - count)


def test_every_question_carries_the_name_of_its_split():
    asked = splits.questions(replace(GOOD, utility=[row("u0", subset="facts"), row("u1")]), 1)
    assert {item.id: item.subset for item in asked} == {
        "f0": "forget",
        "f1": "forget",
        "r0": "retain",
        "h0": "holdout",
        "u0": "facts",
        "u1": "utility",
    }
    assert GOOD.forget[0].subset is None
