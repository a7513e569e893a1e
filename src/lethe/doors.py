"""What every door of ``stages/`` shares: flags from the signature, one line for mistakes, logging."""

import argparse
import contextlib
import errno
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from safetensors import SafetensorError

from lethe.errors import ArtifactError, LetheError

#: Where the first of several processes to fail leaves its last words, for the door that launched them to say.
LAST_WORDS = "LETHE_LAST_WORDS"


def run(main: Callable[..., None]) -> None:
    """Call ``main`` with its parameters read from the command line; a user's mistake ends with one line and status 1.

    Every parameter of ``main`` becomes a required flag of the same name: a flag names a cell of the graph and nothing
    else, all numbers stand in ``params.yaml``.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("lethe").setLevel(logging.INFO)
    with reporting_errors():
        main(**vars(_parser(main).parse_args()))


@contextlib.contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn a mistake of the user, a full disk or an interrupt into one line on stderr and an exit status."""
    try:
        yield
    except LetheError as error:
        _end(f"error: {' '.join(str(error).split())}")
    except (OSError, SafetensorError) as error:
        if _error_number(error) not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _end(f"error: {full_disk(error)}")
    except KeyboardInterrupt:
        _end("interrupted: run the same command again; training goes on from its last checkpoint.")


def leave(words: str) -> bool:
    """Leave last words for the door that launched this process; whether there is one that will say them.

    Those of the first process to fail stay: what the others have to say is the same, or that it has left them.
    """
    if LAST_WORDS not in os.environ:
        return False
    try:
        with open(os.environ[LAST_WORDS], "x", encoding="utf-8") as file:
            file.write(words)
    except FileExistsError:
        return True
    except OSError:  # a full disk, or the folder of another machine
        return False
    return True


def full_disk(error: Exception) -> ArtifactError:
    """The error for a disk or quota that is full: what was being written and that nothing earlier is lost."""
    where = getattr(error, "filename", None) or "an output"
    return ArtifactError(f"{where}: no space left on the disk; free some and run again. Earlier results are untouched.")


def _end(line: str) -> NoReturn:
    sys.exit(1 if leave(line) else line)


def _error_number(error: OSError | SafetensorError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))  # safetensors has the number in its text alone
    return int(found[1]) if found else None


def _parser(main: Callable[..., None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=inspect.getdoc(main))
    for name, parameter in inspect.signature(main).parameters.items():
        kind: Any = parameter.annotation
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser
