"""The command ``recipes``: a list to choose from, or one recipe with its numbers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lethe import terminal

if TYPE_CHECKING:
    from lethe.recipe_list import Listed

# Imports stand inside the command: `lethe --help` must not wait for what it does not use.

_LEGEND = (
    "axes: forget + retain objective · combiner · optimizer · mask · wrappers · edit",
    "cost: ×, a step relative to one of graddiff; s, seconds of an edit alone;",
    "      empty: not measured (python -m benchmarks.methods)",
    "*: in the grid of params.yaml",
    "one recipe in full: lethe recipes NAME; fewer of them: lethe recipes WORD ...",
)


def recipes(patterns: list[str]) -> None:
    """List the recipes of params.yaml, with papers and cost, and which of them the grid runs."""
    from lethe import recipe_list

    known = recipe_list.read()
    found = recipe_list.matching(known, patterns)
    named = [recipe for recipe in found if patterns == [recipe.name]]
    if named:
        _show_one(named[0], others=len(found) - 1)
    else:
        _show_list(found, of=len(known))


def add_all(commands: Any) -> None:
    """Add the parser of the command."""
    added = terminal.add(commands, recipes)
    meaning = "a name, to see that recipe in full; or words, all of which a name, a component or an arXiv id has"
    added.add_argument("patterns", nargs="*", metavar="PATTERN", help=meaning)


def _show_list(found: Sequence["Listed"], of: int) -> None:
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("recipe", "paper", "axes", "cost"):
        as_number = heading == "cost"
        shown.add_column(heading, no_wrap=heading != "axes", justify="right" if as_number else "left")
    for recipe in found:
        name = f"{recipe.name} *" if recipe.in_grid else recipe.name
        shown.add_row(name, next(iter(recipe.papers), ""), recipe.axes, recipe.cost)
    terminal.show(shown)
    count = f"{of} recipes" if len(found) == of else f"{len(found)} of {of} recipes"
    for line in ("", count, *_LEGEND):
        terminal.say(line)


def _show_one(recipe: "Listed", others: int) -> None:
    from rich.table import Table

    from lethe import citations

    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for heading, text in _rows(recipe, citations.above().get(recipe.name, "")):
        shown.add_row(heading, text)
    terminal.show(shown)
    if others:
        terminal.say(f"\nWith it in their name or a component, {others} more: lethe recipes '*{recipe.name}*'")


def _rows(recipe: "Listed", comment: str) -> Iterator[tuple[str, str]]:
    from lethe import config
    from lethe.recipes import listed

    block = config.block("recipes", recipe.name)
    yield "recipe", f"{recipe.name}{' (in the grid)' if recipe.in_grid else ''}"
    if comment:
        yield "", comment
    for part, value in block.items():
        if part in recipe.parts:
            for component in listed(value):
                yield from _component(part, component)
        elif value is not None:
            yield _heading(part), _settings(value) if isinstance(value, dict) else _written(value)
    yield "papers", " ".join(f"https://arxiv.org/abs/{paper}" for paper in recipe.papers)
    yield "cost", _cost(recipe.cost)


def _component(part: str, block: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from lethe import catalogue, registry
    from lethe.recipes import KINDS

    settings = _settings({key: value for key, value in block.items() if key != "name"})
    yield _heading(part), f"{block['name']}{': ' if settings else ''}{settings}"
    if block["name"] in registry.names(KINDS[part]):
        yield "", catalogue.entry(KINDS[part], block["name"]).meaning


def _heading(part: str) -> str:
    return part.replace("_", " ")


def _cost(cost: str) -> str:
    if not cost:
        return "not measured (python -m benchmarks.methods)"
    return f"{cost} {'a step of graddiff' if cost.endswith('×') else 'for the edit'}"


def _settings(block: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_written(value)}" for key, value in block.items())


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{_settings(value)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
