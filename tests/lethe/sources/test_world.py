import json
from itertools import combinations

import pytest

from lethe import config, pretraining, splits
from lethe.sources import world
from lethe.sources.world import Config
from tests.contracts.shipped import PARAMS

NUMBERS = {
    "seed": 0,
    "num_forget_people": 4,
    "num_retain_people": 6,
    "num_holdout_people": 4,
    "num_other_people": 20,
    "num_general_people": 5,
    "num_towns": 12,
    "num_false_answers": 3,
}
GROUPS = ("forget", "retain", "holdout", "other_people")


def build(**changes):
    return world.build(Config(**NUMBERS | changes))


@pytest.fixture(scope="module", params=["small", "shipped"])
def numbers(request):
    return NUMBERS if request.param == "small" else config.read_params(PARAMS)["prepare"]["world"]


@pytest.fixture(scope="module")
def built(numbers):
    return build(**numbers)


def rows_of(built, group):
    return built.other_people if group == "other_people" else getattr(built.splits, group)


def people_rows(built):
    return [row for group in GROUPS for row in rows_of(built, group)]


def relation(row):
    """The kind of fact that a row about a person tells."""
    [found] = [item for item in world.RELATIONS if row.id == f"{row.cluster}-{item.name}"]
    return found


def who(row):
    """The person whom a question is about, taken out of its wording."""
    before, after = relation(row).question.split("{who}")
    assert row.question.startswith(before)
    assert row.question.endswith(after)
    return row.question[len(before) : len(row.question) - len(after)]


def people(built, group):
    return {who(row) for row in rows_of(built, group)}


def base_reads(built):
    """Every text that the base model is trained on."""
    taught = [*built.other_people, *built.general]
    return "\n".join(text for row in taught for pair in pretraining.wordings(row) for text in pair)


def test_the_same_numbers_give_the_same_world(built, numbers):
    assert build(**numbers) == built


def test_loading_gives_the_splits_of_the_world(built, numbers):
    assert world.load(Config(**numbers)) == built.splits


def test_another_seed_gives_other_people_with_other_facts():
    first, other = build(seed=0), build(seed=1)
    for group in GROUPS:
        assert not people(first, group) & people(other, group)
    assert not {row.question for row in people_rows(first)} & {row.question for row in people_rows(other)}


def test_the_splits_can_carry_an_experiment(built):
    splits.check(built.splits)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_as_many_people_as_were_asked_for_and_each_one_every_relation(built, group, numbers):
    asked = numbers[f"num_{group.removesuffix('_people')}_people"]
    about = {}
    for row in rows_of(built, group):
        about.setdefault((row.cluster, who(row)), []).append(relation(row))
    assert len(about) == len(people(built, group)) == asked
    assert all(found == list(world.RELATIONS) for found in about.values())


def test_a_person_has_twelve_to_twenty_facts():
    assert 12 <= len(world.RELATIONS) <= 20


@pytest.mark.parametrize(("one", "other"), list(combinations(GROUPS, 2)))
def test_no_two_groups_share_a_person_a_cluster_or_a_question(built, one, other):
    assert not people(built, one) & people(built, other)
    left, right = rows_of(built, one), rows_of(built, other)
    assert not {row.cluster for row in left} & {row.cluster for row in right}
    assert not {row.question for row in left} & {row.question for row in right}
    assert not {row.paraphrased_question for row in left} & {row.paraphrased_question for row in right}


@pytest.mark.parametrize("group", ["forget", "retain", "holdout"])
def test_the_base_model_never_reads_of_these_people(built, group):
    text = base_reads(built)
    for name in people(built, group):
        assert name not in text
    for row in rows_of(built, group):
        assert row.question not in text
        assert row.paraphrased_question not in text


@pytest.mark.parametrize("group", ["forget", "retain", "holdout"])
def test_the_people_whom_they_know_are_nowhere_else(built, group):
    elsewhere = base_reads(built) + "".join(
        f"{row.question} {row.answer}\n" for other in GROUPS if other != group for row in rows_of(built, other)
    )
    known = [row.answer for row in rows_of(built, group) if relation(row).name in ("spouse", "teacher", "rival")]
    assert known
    assert not any(name in elsewhere for name in known)


def test_the_base_model_reads_every_wording_of_others_and_of_the_general_facts(built):
    text = base_reads(built)
    for row in [*built.other_people, *built.general]:
        for wording in (row.question, row.answer, row.paraphrased_question, row.paraphrased_answer):
            assert wording in text


def test_every_fact_has_two_questions_two_answers_and_as_many_false_answers_as_were_asked_for(built, numbers):
    for row in [*people_rows(built), *built.general]:
        assert row.question != row.paraphrased_question
        assert row.answer != row.paraphrased_answer
        assert row.answer in row.paraphrased_answer
        assert len(row.perturbed_answers) == len(set(row.perturbed_answers)) == numbers["num_false_answers"]
        assert row.paraphrased_answer not in row.perturbed_answers


def test_false_answers_have_the_wording_of_the_true_one(built):
    for row in people_rows(built):
        before, after = relation(row).paraphrased_answer.split("{what}")
        for answer in (row.paraphrased_answer, *row.perturbed_answers):
            assert answer.startswith(before)
            assert answer.endswith(after)


@pytest.mark.parametrize("count", [1, 5])
def test_the_number_of_false_answers_is_a_parameter(count):
    assert {len(row.perturbed_answers) for row in build(num_false_answers=count).splits.forget} == {count}


def test_no_wording_of_one_relation_is_that_of_another():
    for field in ("name", "question", "paraphrased_question", "paraphrased_answer"):
        assert len({getattr(item, field) for item in world.RELATIONS}) == len(world.RELATIONS)
    for item in world.RELATIONS:
        assert item.question.count("{who}") == item.paraphrased_question.count("{who}") == 1
        assert item.paraphrased_answer.count("{what}") == 1


def test_no_person_comes_up_twice_even_where_few_names_can_be_made(monkeypatch):
    # One start, two vowels and two ends make (1 × 2)² × 2 = 8 words and 64 names. Five people with a spouse, a
    # teacher and a rival and a false one of each are 5 × 7 of them, two rulers and two false ones four more.
    for stock, parts in (("_STARTS", ["b"]), ("_VOWELS", ["a", "e"]), ("_ENDS", ["l", "n"])):
        monkeypatch.setattr(world, stock, parts)
    few = {"num_forget_people": 1, "num_retain_people": 1, "num_holdout_people": 1, "num_other_people": 2}
    small = build(**few, num_towns=2, num_false_answers=1)
    known = [row for row in people_rows(small) if relation(row).name in ("spouse", "teacher", "rival")]
    names = [name for group in GROUPS for name in people(small, group)] + [row.answer for row in known]
    assert len(names) == len(set(names)) == 5 + 5 * 3


def test_general_facts_are_about_towns_and_every_model_is_asked_them(built, numbers):
    assert built.splits.utility == built.general
    assert {row.subset for row in built.general} == {"general"}
    assert len({row.cluster for row in built.general}) == numbers["num_towns"]


def test_ids_are_unique_in_the_whole_world(built):
    ids = [row.id for row in [*people_rows(built), *built.general]]
    assert len(ids) == len(set(ids))


def test_the_multiple_choice_questions_ask_the_general_facts(built):
    items = [json.loads(line) for line in built.splits.tasks["general_facts_choice.jsonl"].splitlines()]
    assert len(items) == len(built.general)
    for item, row in zip(items, built.general, strict=True):
        assert item["question"] == row.paraphrased_question
        assert item["choices"][item["answer"]] == row.paraphrased_answer
        assert sorted(item["choices"]) == sorted([row.paraphrased_answer, *row.perturbed_answers])
    assert len({item["answer"] for item in items}) == 4


def test_more_people_change_no_fact_that_was_drawn_before_them():
    built, larger = build(), build(num_other_people=25)
    assert larger.splits.forget == built.splits.forget
    assert larger.splits.retain == built.splits.retain
    assert larger.splits.holdout == built.splits.holdout


@pytest.mark.parametrize("changes", [{"num_false_answers": 12}, {"num_towns": 3}, {"num_forget_people": -1}])
def test_a_world_that_cannot_be_built_is_refused_and_not_waited_for(changes):
    with pytest.raises(ValueError, match=r"num_"):
        Config(**NUMBERS | changes)
