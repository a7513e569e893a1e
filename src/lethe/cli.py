"""The ``lethe`` command: look at results, list recipes, publish to MLflow. DVC runs the pipeline."""

import argparse
from pathlib import Path
from typing import Any

from lethe import doors, recipe_commands, score_commands, terminal

# Imports stand inside the commands: `lethe --help` must not wait for what it does not use.


def main() -> None:
    """Run one command; a mistake of the user ends with one line and status 1."""
    arguments = vars(_parser().parse_args())
    command = arguments.pop("command")
    with doors.reporting_errors(), terminal.until_nobody_reads():
        command(**arguments)


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
    recipe_commands.add_all(commands)
    for command in (papers, publish):
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
