"""``LETHE_LAUNCH``: a stage that trains starts itself anew under ``accelerate launch`` and answers for what it started.

The first process to fail leaves its last words, the others follow it in silence. The stage that launched them tells
those words, once, and ends with their status, in place of what accelerate and torchrun would report of it.
"""

import argparse
import contextlib
import io
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from lethe import distribution, doors
from lethe.errors import ConfigError

#: Arguments of ``accelerate launch``, by which a stage that trains starts itself anew.
LAUNCH = "LETHE_LAUNCH"
#: How many processes they ask for, for those processes to see.
_ASKED = "LETHE_LAUNCH_ASKED"
#: Who else would report that a process failed.
_REPORTERS = ("torch.distributed.elastic.multiprocessing.api", "torch.distributed.elastic.agent.server.api")


def start() -> None:
    """Join the processes that were launched; a stage that stands alone goes on alone, or launches them and ends so.

    Raises ConfigError for arguments in ``LETHE_LAUNCH`` that accelerate does not know, for ways to distribute that are
    none of ours, and where other than the asked number of processes came up; SystemExit after a launch.
    """
    arguments, stage = os.environ.pop(LAUNCH, None), _stage()
    if arguments and stage is not None and "LOCAL_RANK" not in os.environ:
        sys.exit(_launch(_parsed(arguments, stage)))
    if doors.LAST_WORDS in os.environ:
        sys.excepthook = _leave_traceback
    distribution.start()
    _require_asked(os.environ.get(_ASKED))


def _stage() -> str | None:
    module = sys.modules["__main__"].__spec__
    return module.name if module is not None and module.name.startswith("stages.") else None


def _parsed(text: str, stage: str) -> argparse.Namespace:
    from accelerate.commands.launch import launch_command_parser

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{LAUNCH}: {text!r}: {error}; quote it as in a shell.") from error
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            found: argparse.Namespace = launch_command_parser().parse_args([*words, "-m", stage, *sys.argv[1:]])
    except SystemExit as ended:  # of its usage, hundreds of lines, the last one says what is wrong
        why = heard.getvalue().rstrip().rpartition("error: ")[2]
        raise ConfigError(f"{LAUNCH}: {why or ended}; `accelerate launch --help` has what it takes.") from ended
    if found.training_script != stage:
        raise ConfigError(f"{LAUNCH}: {found.training_script!r}: only arguments of `accelerate launch` stand here.")
    return found


def _launch(arguments: argparse.Namespace) -> int:
    """The exit status of the processes, after what they have to say if it is not 0."""
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "last_words"
        os.environ[doors.LAST_WORDS] = str(words)
        if arguments.num_processes is not None:
            os.environ[_ASKED] = str(arguments.num_processes)
        status, why = _ended(arguments)
        said = words.read_text() if words.exists() else ""
    if status != 0:
        sys.stderr.write("".join(f"{text.rstrip()}\n" for text in (said, why) if text))
    return status


def _ended(arguments: argparse.Namespace) -> tuple[int, str]:
    """The exit status of a launch, and what is to be said of processes that could say nothing any more."""
    from accelerate.commands.launch import launch_command
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in _REPORTERS:
        logging.getLogger(name).disabled = True
    try:
        launch_command(arguments)
    except (ValueError, ConnectionError) as error:
        raise ConfigError(f"{LAUNCH}: {error}") from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        return 128 + error.sigval, ""
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    except subprocess.CalledProcessError as error:
        codes = {0: error.returncode}
    else:
        return 0, ""
    return outcome(codes)


def outcome(codes: dict[int, int]) -> tuple[int, str]:
    """The exit status of a launch by those of its processes, and what is to be said of one that a signal ended.

    ``codes`` has those that are not 0, by rank, minus the number where it was a signal. SIGTERM is how torchrun ends
    the others after one has failed: it counts where nothing else is there.
    """
    telling = {rank: code for rank, code in codes.items() if code != -signal.SIGTERM} or codes
    killed = {rank: -code for rank, code in telling.items() if code < 0}
    if not killed:
        return next(iter(telling.values())), ""
    rank, number = next(iter(killed.items()))
    name = signal.Signals(number).name
    return 128 + number, f"error: process {rank} was ended by {name}; run again, training goes on from its checkpoint."


def _leave_traceback(*error: Any) -> None:
    if not doors.leave("".join(traceback.format_exception(*error))):
        sys.__excepthook__(*error)


def _require_asked(asked: str | None) -> None:
    if asked is not None and distribution.size() != max(1, int(asked)):
        raise ConfigError(
            f"{LAUNCH}: {asked} processes are asked for, {distribution.size()} came up; accelerate starts several with "
            "--multi_gpu or --use_fsdp (on CPUs where there is no GPU), with --cpu by MPI alone (--mpirun_hostfile)."
        )
