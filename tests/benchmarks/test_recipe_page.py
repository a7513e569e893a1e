import pytest

from benchmarks import adaptation, recipe_page

LEAF = {"value": 0.25, "low": 0.125, "high": 0.5, "n": 4, "unscored": 0}
FOUND = {
    "reason": None,
    "factor": 20.0,
    "forgets": True,
    "forget_knowledge": LEAF,
    "matched_forget_knowledge": LEAF | {"value": 0.75},
    "matched_share": 0.4,
    "utility": LEAF | {"value": 0.8},
    "excess": {"int3_channel": LEAF | {"low": None, "value": None}, "int4_channel": LEAF},  # as a file has them
    "processor_minutes": 0.074,
}
CONTROLS = {
    name: {"forget_knowledge": LEAF | {"value": value}, "utility": LEAF}
    for name, value in (("retain", 0.0625), ("target", 1.0))
}


def rows(**found):
    text = recipe_page.render({"controls": CONTROLS, "recipes": found}, ["npo", "graddiff"], adaptation.read())
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_a_row_holds_the_numbers_of_its_recipe():
    row = next(row for row in rows(npo=FOUND) if row[0] == "`npo`")
    assert row[1] == "[2404.05868](https://arxiv.org/abs/2404.05868)"
    assert row[2:] == ["0.250", "0.750 (0.40)", "0.800", "0.25 [0.12, 0.50]", "missing", "0.07", "20"]


def test_controls_stand_on_top_and_every_recipe_is_there_in_the_order_of_names():
    found = rows(npo=FOUND)
    assert [row[0] for row in found] == ["**target**", "**retain**", "`graddiff`", "`npo`"]
    assert [row[2] for row in found[:2]] == ["1.000", "0.062"]
    assert found[2][2] == "not run yet"


def test_a_recipe_that_cannot_run_says_why():
    row = rows(npo={"reason": "no a|b rows"})[-1]
    assert row[2] == "cannot run here: no a\\|b rows"


@pytest.mark.parametrize(
    ("changes", "shown"), [({"forgets": False}, "20 !"), ({"factor": None}, ""), ({"factor": 1.0}, "1")]
)
def test_the_factor_tells_where_none_forgets_and_is_empty_without_a_learning_rate(changes, shown):
    assert rows(npo=FOUND | changes)[-1][-1] == shown


def test_a_model_that_keeps_enough_is_not_mixed():
    assert rows(npo=FOUND | {"matched_share": 1.0})[-1][3] == "0.750"
