"""The recipes of params.yaml as ``lethe recipes`` lists, finds and shows them."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe import artifacts, cli, config, recipe_list
from lethe.errors import ConfigError

ROOT = Path(__file__).parents[2]
RECIPES = """
grid: {recipes: [npo], seeds: [0], attacks: [none], retain_seeds: []}
recipes:
  # NPO (Zhang et al., 2024, arXiv:2404.05868):
  # settings as grad_ascent.
  npo:
    forget_objective: {name: npo, beta: 0.1}
    retain_objective: {name: nll}
    combiner: {name: sum}
    optimizer: {name: adamw}
    mask: {name: all}
    wrapper: null
    edit: null
    training: {weights: bf16_in_place, steps: 125}
  grad_ascent:
    forget_objective: {name: grad_ascent}
    retain_objective: null
    combiner: {name: sum}
    optimizer: {name: adamw}
    mask: {name: layers}
    wrapper: null
    edit: null
    training: {weights: fp32_master, steps: 60}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(RECIPES)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["lethe", "recipes", *words])
    cli.main()


def in_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    for name, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("workspace")
def test_a_line_holds_name_paper_axes_and_whether_the_grid_runs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)
    lines = [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        ["recipe", "paper", "axes", "cost"],
        ["npo *", "2404.05868", "npo + nll · sum · adamw · all"],
        ["grad_ascent", "2210.01504", "grad_ascent · sum · adamw · layers"],
    ]
    assert ["2 recipes"] in lines


@pytest.mark.usefixtures("workspace")
def test_every_wrapper_stands_in_the_axes_and_its_paper_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text(RECIPES.replace("wrapper: null", "wrapper: [{name: sam}, {name: early_stop}]", 1))
    run(monkeypatch, "arXiv:2406.09179")  # of early_stop
    shown = capsys.readouterr().out
    assert "npo + nll · sum · adamw · all · sam · early_stop" in shown
    assert "grad_ascent" not in shown
    assert "1 of 2 recipes" in shown


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"step_seconds": 0.3, "once_seconds": 1.0}, "0.60 ×"),  # 0.3 / 0.5
        ({"step_seconds": None, "once_seconds": 12.4}, "12 s"),  # an edit has no steps
        ({"error": "does not run"}, ""),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_the_measured_cost_has_its_unit(found: dict[str, Any], shown: str) -> None:
    measured = {"graddiff": {"step_seconds": 0.5, "once_seconds": 0.0}, "grad_ascent": found}
    artifacts.write_json(Path("benchmarks/methods.json"), measured)
    assert [recipe.cost for recipe in recipe_list.read()] == ["", shown]


def test_every_shipped_recipe_fits_the_window_and_no_word_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    words = {word for recipe in recipe_list.read() for word in (recipe.name, *recipe.axes.split(), recipe.cost)}
    for width, most in ((100, 1.2), (80, 2.0)):  # lines a recipe
        in_a_terminal(monkeypatch, width)
        run(monkeypatch)
        table = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out.partition("\n\n")[0])
        assert max(map(len, table.splitlines())) <= width
        assert len(table.splitlines()) <= most * len(config.block("recipes"))
        assert [word for word in words if word not in table] == []


def test_what_is_piped_has_one_line_a_recipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "40")  # of the terminal behind the pipe
    run(monkeypatch)
    table = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    known = recipe_list.read()
    assert all(recipe.axes in line for recipe, line in zip(known, table[1:], strict=True))


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ((), ["npo", "grad_ascent"]),
        (("ADAMW",), ["npo", "grad_ascent"]),
        (("nll",), ["npo"]),
        (("2210.01504",), ["grad_ascent"]),
        (("a*",), ["npo", "grad_ascent"]),  # adamw
        (("l*s",), ["grad_ascent"]),  # layers, and not all of "nll" or "all"
        (("sum", "lay"), ["grad_ascent"]),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_words_narrow_the_list(patterns: tuple[str, ...], found: list[str]) -> None:
    assert [recipe.name for recipe in recipe_list.matching(recipe_list.read(), patterns)] == found


@pytest.mark.usefixtures("workspace")
def test_a_word_that_no_recipe_has_is_one_line_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "nll", "grad_asent")
    assert stopped.value.code == (
        "error: params.yaml: no recipe has 'grad_asent' in its name, its components or its arXiv ids. "
        "Did you mean 'grad_ascent'? `lethe recipes` lists all 2."
    )


@pytest.mark.usefixtures("workspace")
def test_words_that_no_recipe_has_together_are_named() -> None:
    with pytest.raises(ConfigError, match=r"^params.yaml: no recipe has all of 'nll', 'layers'; leave out one.$"):
        recipe_list.matching(recipe_list.read(), ["nll", "layers"])


@pytest.mark.usefixtures("workspace")
def test_a_recipe_that_is_named_is_shown_with_its_comment_and_every_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "npo")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "recipe npo (in the grid)",
        "NPO (Zhang et al., 2024, arXiv:2404.05868): settings as grad_ascent.",
        "forget objective npo: beta 0.1",
        "Negative preference optimization (Zhang et al., 2024, arXiv:2404.05868): ascent that fades.",
        "retain objective nll",
        "Negative log-likelihood of the retain answers: go on learning what is to be kept.",
        "combiner sum",
        "The weighted sum of the two gradients: what minimising ``forget_weight`` L_f + ``retain_weight`` L_r does.",
        "optimizer adamw",
        "AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101): steps of about ``lr`` a weight.",
        "mask all",
        "No mask: every weight may move.",
        "training weights bf16_in_place, steps 125",
        "papers https://arxiv.org/abs/2404.05868",
        "cost not measured (python -m benchmarks.methods)",
    ]


def test_every_number_of_every_shipped_recipe_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("tar", "uwc-npo", "ssd"):
        run(monkeypatch, name)
        shown = capsys.readouterr().out
        assert [number for number in _numbers(config.block("recipes", name)) if str(number) not in shown] == []


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return [number for one in (value.values() if isinstance(value, dict) else value) for number in _numbers(one)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.mark.usefixtures("workspace")
def test_a_named_recipe_tells_how_many_more_have_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text(RECIPES.replace("grad_ascent:", "npo_alone:"))
    run(monkeypatch, "npo")
    assert capsys.readouterr().out.endswith("a component, 1 more: lethe recipes '*npo*'\n")
    run(monkeypatch, "*npo*")
    assert "2 recipes" in capsys.readouterr().out


@pytest.mark.usefixtures("workspace")
def test_a_recipe_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("params.yaml").write_text("grid: {recipes: [npo]}\nrecipes: {npo: {training: 3}}\n")
    with pytest.raises(SystemExit, match=r"^error: params.yaml: recipes.npo: not a recipe; give it forget_objective,"):
        run(monkeypatch)
