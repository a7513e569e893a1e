"""The page docs/recipes.md from the results: a table of all recipes, and how its numbers came to be."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.adaptation import Settings
from lethe import citations, config

_HEADINGS = (
    "recipe",
    "paper",
    "forget knowledge",
    "at matched utility",
    "utility",
    "4-bit excess",
    "3-bit excess",
    "minutes",
    "lr ×",
)

_TEXT = """\
# Every recipe on the shipped world

Made by `python -m benchmarks.shipped_world` from the default run, seed {seed}; do not edit.

The recipes hold their papers' numbers, made for models of 1 to 7 billion parameters. For this model of 2 million, every
training runs {steps} steps of {rows} rows, and all learning rates of a recipe are multiplied by the smallest of
{factors} after which it has forgotten: an excess without attack of at most {limit}.
Nothing else is tuned. What a model of 4 layers needs besides stands in
[`benchmarks/shipped_world.yaml`](../benchmarks/shipped_world.yaml). So the table shows that every recipe runs, and what
the same forgetting costs and how it holds here; it is no ranking of the papers' methods at their own scale.

- **forget knowledge**: mean probability of the true answer on forget. Near the retain model's it is forgotten; the
  smaller, the more was broken beyond that.
- **at matched utility**: forget knowledge after the model is mixed with the target until it keeps {tolerance} of the
  target's extraction strength on {validation} retain rows that nobody is asked about (arXiv:2406.09179); in brackets
  the model's share of the mixture, where it is not 1.
- **utility**: model utility over retain and general facts, 0 to 1.
- **4-bit, 3-bit excess**: after rounding to {schemes}, 0 as if the data had never been
  seen, 1 as if they had never been unlearned, with its 95 % interval over people.
- **minutes**: processor minutes of unlearning, one thread, at the factor shown.
- **lr ×**: the factor; `!` where no factor forgets, and the largest that stays finite is shown. A closed-form edit has
  none.
"""


def render(results: Mapping[str, Any], names: Sequence[str], settings: Settings) -> str:
    """The whole page; a recipe that has no result, or could not run, has a row that says so."""
    papers = citations.papers()
    rows = [_control(name, results["controls"][name]) for name in ("target", "retain") if name in results["controls"]]
    rows += [_row(name, results["recipes"].get(name), papers[name], settings.schemes) for name in sorted(names)]
    table = [_line(_HEADINGS), _line(["---", "---", *["--:"] * (len(_HEADINGS) - 2)]), *map(_line, rows)]
    return "\n".join([*_introduction(settings), *table]) + "\n"


def _introduction(settings: Settings) -> list[str]:
    length = settings.training
    numbers = {
        "seed": settings.seed,
        "steps": length.steps,
        "rows": length.batch_size * length.accumulation,
        "factors": ", ".join(f"{factor:g}" for factor in settings.factors),
        "limit": config.block("score", "gates", "largest_excess"),
        "validation": settings.validation_rows,
        "tolerance": settings.mixing.tolerance,
        "schemes": " and ".join(f"`{scheme}`" for scheme in settings.schemes),
    }
    return [*_TEXT.format(**numbers).splitlines(), ""]


def _control(name: str, scores: Mapping[str, Any]) -> list[str]:
    known, utility = (_number(scores[part]) for part in ("forget_knowledge", "utility"))
    return [f"**{name}**", "", known, "", utility, "", "", "", ""]


def _row(name: str, found: Mapping[str, Any] | None, cited_paper: str, schemes: Sequence[str]) -> list[str]:
    paper = cited_paper and f"[{cited_paper}](https://arxiv.org/abs/{cited_paper})"
    if found is None or found["reason"]:
        reason = "not run yet" if found is None else f"cannot run here: {found['reason']}"
        return [f"`{name}`", paper, reason.replace("|", "\\|"), *[""] * 6]
    return [
        f"`{name}`",
        paper,
        _number(found["forget_knowledge"]),
        _matched(found),
        _number(found["utility"]),
        *(_with_interval(found["excess"][scheme]) for scheme in schemes),
        f"{found['processor_minutes']:.2f}",
        _factor(found),
    ]


def _matched(found: Mapping[str, Any]) -> str:
    share = found["matched_share"]
    return _number(found["matched_forget_knowledge"]) + ("" if share == 1 else f" ({share:.2f})")


def _factor(found: Mapping[str, Any]) -> str:
    if found["factor"] is None:
        return ""
    return f"{found['factor']:g}" + ("" if found["forgets"] else " !")


def _with_interval(leaf: Mapping[str, Any]) -> str:
    if leaf["value"] is None or leaf["low"] is None:
        return _number(leaf)
    return f"{leaf['value']:.2f} [{leaf['low']:.2f}, {leaf['high']:.2f}]"


def _number(leaf: Mapping[str, Any]) -> str:
    return "missing" if leaf["value"] is None else f"{leaf['value']:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
