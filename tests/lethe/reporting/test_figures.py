"""Figures say what the tables say, to every reader, with the same bytes each time."""

import re
from pathlib import Path

import pytest

from lethe import artifacts
from lethe.reporting import figures, tables
from lethe.reporting.evidence import Evidence
from tests import experiment

NUMERIC_IDS = re.compile(r'\bid="([^"]+)"')


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.chdir(tmp_path)
    return experiment.write_experiment()


def every_figure(evidence: Evidence) -> list[str]:
    return [
        figures.tradeoff(tables.summary(evidence)),
        figures.bit_widths_key(evidence),
        *(figures.bit_widths(evidence, recipe) for recipe in evidence.grid.recipes),
        *(figures.learning_curve(model) for model in evidence.models),
    ]


def test_the_same_numbers_give_the_same_bytes(finished: Evidence) -> None:
    assert every_figure(finished) == every_figure(finished)


def test_no_two_figures_share_an_id_and_every_reference_has_its_target(finished: Evidence) -> None:
    drawn = every_figure(finished)
    names = [set(NUMERIC_IDS.findall(svg)) for svg in drawn]
    assert sum(map(len, names)) == len(set().union(*names))
    for svg, own in zip(drawn, names, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {
            pair for name in own for pair in ((name, ""), ("", name))
        }


def test_figures_ask_for_nothing_from_elsewhere_and_keep_no_date(finished: Evidence) -> None:
    for svg in every_figure(finished):
        assert "://" not in svg
        assert "<metadata" not in svg
        assert "<script" not in svg


def test_figures_follow_the_ink_of_the_page(finished: Evidence) -> None:
    for svg in every_figure(finished):
        assert "currentColor" in svg
        assert "#000000" not in svg


def test_every_figure_is_told_in_words_for_those_who_cannot_see_it(finished: Evidence) -> None:
    tradeoff, _, first, *_ = every_figure(finished)
    words = re.findall(r'^<svg role="img" aria-label="([^"]+)"', tradeoff)[0]
    assert "retain: forget knowledge 0.12, utility 0.88" in words
    assert "3 bits, groups of 32 0.53" in re.findall(r'^<svg role="img" aria-label="([^"]+)"', first)[0]


def test_axes_carry_their_names_as_text(finished: Evidence) -> None:
    tradeoff, _, bits, *_ = every_figure(finished)
    assert "forget knowledge (mean probability of the true answer)</text>" in tradeoff
    assert "bits a weight</text>" in bits
    for tick in ("full", "8", "4", "3", "2"):
        assert f">{tick}</text>" in bits


def test_every_family_of_schemes_stands_in_the_key(finished: Evidence) -> None:
    key = figures.bit_widths_key(finished)
    for family in ("per channel", "groups of 32", "groups of 32, asymmetric", "NF4", "FP4"):
        assert f">{family}</text>" in key


def test_what_was_not_measured_is_not_drawn(finished: Evidence) -> None:
    whole = figures.tradeoff(tables.summary(finished))
    artifacts.remove(artifacts.scores("grad_ascent-0"))
    without = figures.tradeoff(tables.summary(experiment.evidence()))
    assert "grad_ascent-0</text>" in whole
    assert "grad_ascent-0</text>" not in without
    assert "grad_ascent-0: forget knowledge not measured" in without


def test_an_experiment_without_any_score_still_has_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    empty = experiment.evidence()
    assert figures.tradeoff(tables.summary(empty)).startswith("<svg")
    assert figures.bit_widths(empty, "npo_bf16").startswith("<svg")
    assert [figures.loss_names(model) for model in empty.models] == [[]] * 5


def test_twelve_recipes_have_twelve_looks() -> None:
    assert len(set(figures.CELL_STYLES[:12])) == 12


def test_a_loss_that_was_not_written_at_every_step_leaves_gaps(finished: Evidence) -> None:
    rows = [
        {"step": 0, "forget_loss": 1.0, "retain_loss": None},
        {"step": 1, "forget_loss": 0.5, "retain_loss": 2.0},
    ]
    artifacts.write_json(artifacts.curve("npo_bf16-0"), rows)
    svg = figures.learning_curve(experiment.evidence().models[2])
    assert "forget loss from 1 to 0.5; retain loss from 2 to 2" in svg
