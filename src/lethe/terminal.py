"""What commands have in common: how one is added to the command line, and how it prints."""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any


def add(commands: Any, command: Callable[..., None]) -> argparse.ArgumentParser:
    """The parser of a command, which is called by its function's name and described by its docstring."""
    meaning = (command.__doc__ or "").strip()
    name = command.__name__.replace("_", "-")
    added: argparse.ArgumentParser = commands.add_parser(name, help=meaning, description=meaning)
    added.set_defaults(command=command)
    return added


def add_json(command: argparse.ArgumentParser) -> None:
    """The option ``--json``, the argument ``as_json`` of the command."""
    command.add_argument("--json", action="store_true", dest="as_json", help="one JSON document instead of a table")


@contextlib.contextmanager
def until_nobody_reads() -> Iterator[None]:
    """Let a command end quietly, with the status of a closed pipe, where ``head`` or a pager has read enough of it."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed at the exit
        sys.exit(128 + signal.SIGPIPE)


def print_json(document: Any) -> None:
    """Print one document; the same one gives the same bytes."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def say(what: Any) -> None:
    """Print a line."""
    print(what)


def show(table: Any) -> None:
    """Print a table of rich."""
    _console().print(table)


def fits(table: Any) -> bool:
    """Whether a table of rich can be printed without breaking a word."""
    console = _console()
    return bool(console.measure(table, options=console.options.update(max_width=10_000)).minimum <= console.width)


def _console() -> Any:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a pipe or a log has no width of its own; lines must not be cut there
        console.width = 200
    return console
