"""The ``lethe`` command: look at results, list recipes, publish to MLflow. DVC runs the pipeline."""

import argparse
from pathlib import Path
from typing import Any

from lethe import doors, score_commands, terminal

_COMPONENTS = {
    "forget_objective": "forget_objectives",
    "retain_objective": "retain_objectives",
    "combiner": "combiners",
    "optimizer": "optimizers",
    "mask": "masks",
    "wrapper": "wrappers",
    "edit": "edits",
}
_COMMON = ("nll", "adamw")  # what nearly every recipe has tells nothing of where it comes from
_COSTS = Path("benchmarks/methods.json")

# Imports stand inside the commands: `lethe --help` must not wait for what it does not use.


def main() -> None:
    """Run one command; a mistake of the user ends with one line and status 1."""
    arguments = vars(_parser().parse_args())
    command = arguments.pop("command")
    with doors.reporting_errors():
        command(**arguments)


def recipes() -> None:
    """List the recipes of params.yaml, with papers and cost, and which of them the grid runs."""
    from rich.table import Table

    from lethe import artifacts, citations, config

    library, chosen = config.block("recipes"), config.block("grid", "recipes")
    costs = artifacts.read_json(_COSTS) if _COSTS.exists() else {}
    shown = Table(
        caption="cost: seconds a step, relative to graddiff; of an edit, its seconds (python -m benchmarks.methods)"
    )
    headings = (
        "recipe",
        "forget objective",
        "retain objective",
        "combiner",
        "optimizer",
        "mask",
        "wrapper",
        "edit",
        "papers",
        "weights",
        "steps",
        "cost",
        "in grid",
    )
    for heading in headings:
        shown.add_column(heading, no_wrap=heading == "recipe", overflow="fold")
    parts = {name: _parts(name, recipe) for name, recipe in library.items()}
    cited = citations.papers()
    for name, (components, papers, training) in parts.items():
        sources = " ".join(dict.fromkeys(paper for paper in (cited[name], *papers) if paper))
        shown.add_row(name, *components, sources, *training, _cost(costs, name), "yes" if name in chosen else "")
    terminal.show(shown)


def papers() -> None:
    """Print every component of the library with its papers, as the Markdown of docs/papers.md."""
    from lethe import catalogue

    print(catalogue.as_markdown(), end="")


def publish() -> None:
    """Show the finished experiment in MLflow; what is already there is not written again."""
    from lethe import tracking

    print(tracking.publish())


def openunlearning(log: Path, retain: Path | None) -> None:
    """Print our scores for a TOFU_EVAL.json or MUSE_EVAL.json of OpenUnlearning, as one JSON document."""
    from lethe.interchange import openunlearning, settings

    document = openunlearning.document(log, retain, settings.read())
    terminal.print_json(document)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lethe",
        description="Remove what a language model should not know, and see whether it comes back.",
        epilog="The pipeline runs with `dvc repro`; its numbers stand in params.yaml.",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in (recipes, papers, publish):
        terminal.add(commands, command)
    score_commands.add_all(commands)
    meaning = "Read the evaluation log of another project."
    imports = commands.add_parser("import", help=meaning, description=meaning)
    _add_openunlearning(imports.add_subparsers(metavar="project", required=True))
    return parser


def _add_openunlearning(projects: Any) -> None:
    added = terminal.add(projects, openunlearning)
    added.add_argument("log", type=Path, help="the log of the model")
    added.add_argument("--retain", type=Path, help="the log of the retain model on the same questions")


def _parts(name: str, recipe: Any) -> tuple[list[str], list[str], list[str]]:
    """The names of a recipe's components, the papers of these, and how it trains."""
    from lethe import config
    from lethe.errors import ConfigError
    from lethe.recipes import listed

    try:
        named = {part: [block["name"] for block in listed(recipe[part])] for part in _COMPONENTS}
        training = recipe["training"] or {"weights": "", "steps": ""}
        shown = [", ".join(names) for names in named.values()]
        return shown, _papers(named), [training["weights"], str(training["steps"])]
    except (KeyError, TypeError, ValueError):
        needed = ", ".join((*_COMPONENTS, "training"))
        raise ConfigError(f"{config.PARAMS}: recipes.{name}: not a recipe; give it {needed}.") from None


def _papers(named: dict[str, list[str]]) -> list[str]:
    from lethe import catalogue, registry

    found: dict[str, None] = {}
    for part, names in named.items():
        known = registry.names(_COMPONENTS[part])
        for name in (name for name in names if name in known and name not in _COMMON):
            found |= dict.fromkeys(catalogue.entry(_COMPONENTS[part], name).papers[:1])
    return list(found)


def _cost(costs: dict[str, Any], name: str) -> str:
    try:
        step, reference = (costs[one]["step_seconds"] for one in (name, "graddiff"))
        return f"{costs[name]['once_seconds']:.0f} s" if step is None else f"{step / reference:.2f}"
    except KeyError:
        return ""
