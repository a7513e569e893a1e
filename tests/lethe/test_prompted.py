import pytest

from lethe import interviews, prompted
from lethe.metrics.rwku import ATTACKS
from lethe.records import Records
from lethe.sources import rwku
from tests import fake_rwku
from tests.synthetic_records import BOOTSTRAP, generation, likelihood

LIMIT = 0.05


def asked(model, **recalled):
    """A model that says the true answer to that many questions of each kind: two about each of six subjects."""
    said = Records([likelihood([-1.0])], [])
    for kind, right in recalled.items():
        split = "forget" if kind == "paraphrased_question" else f"forget_level3_{kind}"
        prompt = kind if split == "forget" else "question"
        for number in range(12):
            fields = {"split": split, "id": f"{kind}{number}", "cluster": f"c{number // 2}", "prompt": prompt}
            text = "the old harbour\nand more" if number < right else "no idea\nthe old harbour"
            said.generations.append(generation("the old harbour", text, **fields))
    return interviews.interview(model, {"none": said})


def scores(mine, retain, target=None):
    controls = (asked("target", **(mine if target is None else target)), asked("retain", **retain))
    return prompted.prompt_scores(asked("npo-0", **mine), *controls, BOOTSTRAP, LIMIT)


def test_each_kind_is_held_against_the_retain_model_up_to_the_first_line():
    found = scores({"role_play": 12, "paraphrased_question": 6}, {"role_play": 3, "paraphrased_question": 6})
    assert list(found) == ["role_play", "paraphrased_question"]
    values = {name: score.value for name, score in found["role_play"].items()}
    assert values["recall"] == 1.0
    assert values["retain_recall"] == pytest.approx(3 / 12)
    assert values["difference"] == pytest.approx(9 / 12)
    assert found["paraphrased_question"]["difference"].value == 0.0


def test_the_target_says_which_prompts_have_power():
    found = scores({"role_play": 3}, {"role_play": 3}, target={"role_play": 12})["role_play"]
    assert found["target_recall"].value == 1.0
    assert found["target_difference"].value == pytest.approx(9 / 12)
    assert found["difference"].value == 0.0


def test_the_p_value_is_that_of_the_sign_flips_adjusted_over_all_kinds():
    # Six subjects whose sums are all positive: one of 2^6 sign flips is as large, p = 1/64. With a second kind, whose
    # difference is 0 and whose surplus is below 0, Holm doubles it.
    alone = scores({"role_play": 12}, {"role_play": 0})["role_play"]["leak_p"]
    assert alone.value == pytest.approx(1 / 64)
    both = scores({"role_play": 12, "cross_lingual": 0}, {"role_play": 0, "cross_lingual": 0})
    assert both["role_play"]["leak_p"].value == pytest.approx(2 / 64)
    assert both["cross_lingual"]["leak_p"].value == 1.0


def test_a_leak_within_the_limit_is_not_shown():
    found = scores({"role_play": 12}, {"role_play": 12})["role_play"]
    assert (found["difference"].value, found["leak_p"].value) == (0.0, 1.0)


def test_the_attacks_that_the_source_asks_are_kinds_of_prompt_and_its_other_levels_are_not(tmp_path):
    loaded = rwku.load(rwku.Config(path=str(fake_rwku.write(tmp_path)), subjects=["Ada", "Bo"], corpus=None))
    rows = [row for asked in loaded.asked.values() for row in asked if row.question]
    said = Records([likelihood([-1.0])], [])
    for row in rows:
        fields = {"split": row.subset, "id": row.id, "cluster": row.cluster}
        said.generations.append(generation(row.answer, row.answer, **fields))
    found = prompted.leaks(interviews.interview("npo-0", {"none": said}).conditions["none"])
    assert set(found) == {kind.split(" (")[0].replace(" ", "_") for kind in fake_rwku.ATTACKS} <= set(ATTACKS)
    assert all((leak.numbers == 1).all() for leak in found.values())


def test_plain_questions_are_no_other_prompt():
    assert scores({}, {}) == {}
