"""What the report says first is what was found, no more and no less."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.recipes import Grid
from lethe.reporting import answer, tables
from lethe.reporting.evidence import Evidence, Model, NamedScheme
from tests import experiment

SCHEMES = {name: NamedScheme(name=name, **values) for name, values in experiment.SCHEMES.items()}


def model(name: str, attacks: dict[str, Any], knowledge: float | None = 0.01) -> Model:
    leaf = experiment.leaf(knowledge) if knowledge is not None else experiment.missing_leaf(3)
    splits = {"forget": {"probability": leaf}, "overall": {"model_utility": experiment.leaf(0.8)}}
    conditions = dict.fromkeys(["none", *attacks], splits)
    returns = {name: OUTCOMES.get(id(numbers), "not_excluded") for name, numbers in attacks.items()}
    scores = {"conditions": conditions, "attacks": attacks, "gates": [], "verdict": None, "returns": returns}
    recipe = None if name in ("target", "retain") else name.removesuffix("-0")
    return Model(name, recipe, scores, curve=[], diagnostics=None, capabilities=None, probes=None)


def evidence(*cells: Model) -> Evidence:
    grid = Grid(recipes=["npo"], seeds=[0], attacks=["none", "quantization"], retain_seeds=[])
    return Evidence(
        grid,
        [model("target", {}, 0.97), model("retain", {}, 0.12), *cells],
        SCHEMES,
        confidence=0.95,
        largest_excess=0.1,
    )


def effect(*, gain: tuple[float, float, float], excess: tuple[float, float, float], p: float) -> dict[str, Any]:
    ends = ("value", "low", "high")
    return {
        "excess_p": {"value": p, "low": None, "high": None, "n": 9, "unscored": 0},
        "own_gain": {**dict(zip(ends, gain, strict=True)), "n": 9, "unscored": 0},
        "excess": {**dict(zip(ends, excess, strict=True)), "n": 9, "unscored": 0},
    }


NOTHING = effect(gain=(0.0, -0.02, 0.02), excess=(-0.1, -0.12, -0.08), p=1.0)
RETURN = effect(gain=(0.4, 0.35, 0.45), excess=(0.4, 0.35, 0.45), p=0.004)
UNSURE = effect(gain=(0.01, -0.1, 0.12), excess=(0.05, -0.1, 0.2), p=0.3)
OUTCOMES = {id(NOTHING): "excluded", id(RETURN): "came_back", id(UNSURE): "not_excluded"}


def answered(found: Evidence) -> answer.Answer:
    return answer.answer(found, tables.summary(found))


def told(found: Evidence) -> str:
    lead, task, findings = answered(found)
    return " ".join([lead, task, *(f"{model}: {text}" for model, text in findings)])


def paragraph(*cells: Model) -> str:
    return told(evidence(*cells))


def test_knowledge_came_back_at_the_bit_widths_of_the_schemes_that_brought_it_back() -> None:
    attacks = {
        "int8_channel": NOTHING,
        "int3_channel": RETURN,
        "int3_group32": RETURN,
        "int2_channel": RETURN,
    }
    text = paragraph(model("npo-0", attacks))
    assert "to 3 and 2 bits brought knowledge back in 1 of 1" in text
    assert "at 3 and 2 bits the knowledge came back (adjusted p at most 0.004), up to" in text


def test_nothing_came_back_when_every_upper_bound_is_small() -> None:
    found = evidence(model("npo-0", {"int8_channel": NOTHING, "int4_channel": NOTHING}))
    assert answer.outcome(found, found.cells[0]).came_back == []
    assert "brought the knowledge back in none of 1" in told(found)


def test_a_wide_interval_does_not_exclude_a_return() -> None:
    found = evidence(model("npo-0", {"int4_channel": UNSURE}))
    assert answer.outcome(found, found.cells[0]).not_excluded == ["int4_channel"]
    assert "a return cannot be excluded" in told(found)


def test_a_missing_bound_does_not_exclude_a_return() -> None:
    missing = {"own_gain": experiment.missing_leaf(9), "excess": experiment.missing_leaf(9)}
    found = evidence(model("npo-0", {"int4_channel": missing}))
    assert answer.outcome(found, found.cells[0]).not_excluded == ["int4_channel"]


def test_without_an_attack_nothing_is_said_to_have_survived_one() -> None:
    text = paragraph(model("npo-0", {}))
    assert "was not tested" in text
    assert "none" not in text.lower()


def test_a_number_that_is_missing_is_not_given_as_zero() -> None:
    text = paragraph(model("npo-0", {}, knowledge=None))
    assert "npo-0: forget knowledge was not measured: 3 could not be scored." in text
    assert "0.00" not in text


def test_many_models_are_told_in_groups_and_none_is_lost() -> None:
    attacks = [{"int3_channel": RETURN}, {"int3_channel": NOTHING}, {"int3_channel": UNSURE}, {}]
    cells = [model(f"recipe{number}-0", attacks[number % 4]) for number in range(12)]
    text = paragraph(*cells)
    assert all(cell.name in text for cell in cells)
    assert "brought knowledge back in 3 of 9 unlearned models" in text


def gated(name: str, *gates: tuple[str, bool | None]) -> Model:
    """A cell to which nothing came back, with these gates."""
    cell = model(name, {"int3_group32": NOTHING})
    found = [experiment.gate(identity, "a rule", "an observation", passed) for identity, passed in gates]
    return dataclasses.replace(cell, scores={**(cell.scores or {}), "gates": found})


def test_gates_that_failed_are_named_and_models_that_failed_none_are_counted() -> None:
    failing = gated("npo-0", ("G1", False), ("G3", True), ("G4", False), ("G6", None))
    passing = gated("simnpo-0", ("G1", True), ("G6", None))
    found = answered(evidence(failing, passing))
    assert found.lead.endswith("1 of 2 passed every gate that was tested.")
    assert found.findings[0].text.endswith("Gates failed: like the retain model and membership.")
    assert "Gates failed" not in found.findings[1].text


def test_a_gate_that_was_not_tested_is_no_pass() -> None:
    assert "passed" not in answered(evidence(gated("npo-0", ("G6", None)))).lead
    assert answered(evidence(gated("npo-0", ("G1", False)))).lead.endswith(
        "None of 1 passed every gate that was tested."
    )


@pytest.mark.parametrize(("clusters", "is_told"), [(8, True), (42, False), (None, False)])
def test_whom_the_questions_are_about_is_told_where_the_rows_name_it(clusters: int | None, is_told: bool) -> None:
    """Rows that name no cluster stand for themselves: 42 clusters of 42 questions say nothing about people."""
    splits = {"forget": {"rows": 42, "clusters": clusters}}
    found = dataclasses.replace(evidence(), manifest={"source": "jsonl", "splits": splits})
    assert answered(found).task.startswith("To be removed: the answers to 42 questions")
    assert ("about 8 people, documents or entities (data source: jsonl)." in answered(found).task) == is_told


@pytest.mark.parametrize(
    ("names", "words"), [(["int3_channel"], "3 bits"), (["int2_channel", "nf4_block64"], "4 and 2 bits")]
)
def test_bit_widths_are_named_once_and_the_widest_first(names: list[str], words: str) -> None:
    assert answer.bit_widths(evidence(), names) == words


@given(st.dictionaries(st.sampled_from(sorted(SCHEMES)), st.sampled_from(["came_back", "not_excluded", "excluded"])))
def test_the_answer_says_of_every_condition_what_the_verdict_says(returns: dict[str, str]) -> None:
    cell = model("npo-0", dict.fromkeys(returns, RETURN))
    found = evidence(dataclasses.replace(cell, scores={**(cell.scores or {}), "returns": returns}))
    result = answer.outcome(found, found.cells[0])
    told = dict.fromkeys(result.tested, "excluded") | dict.fromkeys(result.not_excluded, "not_excluded")
    assert told | dict.fromkeys(result.came_back, "came_back") == returns


def test_a_model_without_a_verdict_on_returns_was_not_tested() -> None:
    cell = model("npo-0", {"int3_channel": RETURN})
    found = evidence(dataclasses.replace(cell, scores={**(cell.scores or {}), "returns": {}}))
    assert "was not tested" in told(found)
