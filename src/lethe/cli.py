"""The ``lethe`` command: look at results, list recipes, publish to MLflow. DVC runs the pipeline."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lethe import doors

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


def table() -> None:
    """Print the summary of the last report and where the report is."""
    from rich.table import Table

    from lethe import artifacts

    rows = artifacts.read_json(artifacts.REPORT_TABLE)
    shown = Table()
    for heading in (
        "model",
        "forget\nknowledge",
        "utility",
        "worst\nquantization",
        "knowledge\nafter",
        "utility\nafter",
    ):
        shown.add_column(heading, justify="left" if heading in ("model", "worst\nquantization") else "right")
    shown.add_column("verdict")
    for row in rows:
        numbers = [
            _number(row[name]) for name in ("forget_knowledge", "utility", "forget_knowledge_after", "utility_after")
        ]
        verdict = row["verdict"] or ("control" if row["model"] in artifacts.CONTROLS else "not measured")
        shown.add_row(row["model"], *numbers[:2], row["worst_condition"] or "none was run", *numbers[2:], verdict)
    _console().print(shown)
    print(artifacts.REPORT_PAGE)


def recipes() -> None:
    """List the recipes of params.yaml, with papers and cost, and which of them the grid runs."""
    from rich.table import Table

    from lethe import artifacts, config

    library, chosen = config.block("recipes"), config.block("grid", "recipes")
    costs = artifacts.read_json(_COSTS) if _COSTS.exists() else {}
    shown = Table(caption="cost: seconds a step, relative to graddiff (python -m benchmarks.methods)")
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
    for name, recipe in library.items():
        shown.add_row(name, *_parts(name, recipe), _cost(costs, name), "yes" if name in chosen else "")
    _console().print(shown)


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
    _print_json(document)


def meta_evaluation(
    knowing: list[Path],
    ignorant: list[Path],
    unlearned: list[Path],
    retain: Path | None,
    quantization: list[str],
    relearning: list[str],
    as_json: bool,
) -> None:
    """Print which metrics deserve belief: what they say of models of which the truth is known."""
    from lethe import config
    from lethe.meta_evaluation import documents, findings, tables

    settings = config.section(findings.Config, "meta_evaluation")
    models = findings.Models(
        knowing=[documents.read(path) for path in knowing],
        ignorant=[documents.read(path) for path in ignorant],
        unlearned=[documents.read(path) for path in unlearned],
        retain=None if retain is None else documents.read(retain),
    )
    attacks = [findings.Attack(condition, "quantization") for condition in quantization]
    attacks += [findings.Attack(condition, "relearning") for condition in relearning]
    found = findings.evaluate(models, attacks, settings)
    if as_json:
        _print_json(tables.as_json(found, models, settings))
    else:
        _console().print(tables.table(found, attacks, len(unlearned)))


def aggregates(files: list[Path], against: Path | None, as_json: bool) -> None:
    """Print OpenUnlearning's four numbers of models: memorization, privacy, utility and their overall."""
    from lethe.meta_evaluation import documents, tables
    from lethe.meta_evaluation.aggregates import aggregate

    whole = None if against is None else documents.read(against)
    found = {path.as_posix(): aggregate(documents.read(path), whole) for path in files}
    if as_json:
        _print_json(tables.aggregates_json(found, whole))
    else:
        _console().print(tables.aggregates_table(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lethe",
        description="Remove what a language model should not know, and see whether it comes back.",
        epilog="The pipeline runs with `dvc repro`; its numbers stand in params.yaml.",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in (table, recipes, papers, publish):
        _add(commands, command)
    _add_meta_evaluation(commands)
    _add_aggregates(commands)
    meaning = "Read the evaluation log of another project."
    imports = commands.add_parser("import", help=meaning, description=meaning)
    _add_openunlearning(imports.add_subparsers(metavar="project", required=True))
    return parser


def _add(commands: Any, command: Callable[..., None]) -> argparse.ArgumentParser:
    meaning = (command.__doc__ or "").strip()
    name = command.__name__.replace("_", "-")
    added: argparse.ArgumentParser = commands.add_parser(name, help=meaning, description=meaning)
    added.set_defaults(command=command)
    return added


def _add_openunlearning(projects: Any) -> None:
    added = _add(projects, openunlearning)
    added.add_argument("log", type=Path, help="the log of the model")
    added.add_argument("--retain", type=Path, help="the log of the retain model on the same questions")


def _add_meta_evaluation(commands: Any) -> None:
    added = _add(commands, meta_evaluation)
    pools = {
        "knowing": "score files of models that were trained on the forget set",
        "ignorant": "score files of models that never saw it",
        "unlearned": "score files of unlearned models, for robustness",
    }
    for name, meaning in pools.items():
        needed = name != "unlearned"
        added.add_argument(f"--{name}", nargs="+", type=Path, required=needed, default=[], metavar="FILE", help=meaning)
    added.add_argument("--retain", type=Path, metavar="FILE", help="the retain model's score file, for relearning")
    for attack in ("quantization", "relearning"):
        meaning = f"conditions of the score files that are {attack}"
        added.add_argument(f"--{attack}", nargs="+", default=[], metavar="CONDITION", help=meaning)
    _add_json(added)


def _add_aggregates(commands: Any) -> None:
    added = _add(commands, aggregates)
    added.add_argument("files", nargs="+", type=Path, metavar="FILE", help="score files")
    added.add_argument("--against", type=Path, metavar="FILE", help="score file of the model whose utility counts as 1")
    _add_json(added)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", dest="as_json", help="one JSON document instead of a table")


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def _console() -> Any:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe or a log has no width of its own; lines must not be cut there
        console.width = 200
    return console


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _parts(name: str, recipe: Any) -> list[str]:
    from lethe import config
    from lethe.errors import ConfigError
    from lethe.recipes import listed

    try:
        named = {part: [block["name"] for block in listed(recipe[part])] for part in _COMPONENTS}
        training = recipe["training"] or {"weights": "", "steps": ""}
        shown = [", ".join(names) for names in named.values()]
        return [*shown, _papers(named), training["weights"], str(training["steps"])]
    except (KeyError, TypeError, ValueError):
        needed = ", ".join((*_COMPONENTS, "training"))
        raise ConfigError(f"{config.PARAMS}: recipes.{name}: not a recipe; give it {needed}.") from None


def _papers(named: dict[str, list[str]]) -> str:
    from lethe import catalogue, registry

    found: dict[str, None] = {}
    for part, names in named.items():
        known = registry.names(_COMPONENTS[part])
        for name in (name for name in names if name in known and name not in _COMMON):
            found |= dict.fromkeys(catalogue.entry(_COMPONENTS[part], name).papers[:1])
    return " ".join(found)


def _cost(costs: dict[str, Any], name: str) -> str:
    try:
        return f"{costs[name]['step_seconds'] / costs['graddiff']['step_seconds']:.2f}"
    except KeyError:
        return ""
