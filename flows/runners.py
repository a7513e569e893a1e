"""Processes that reproduce stages (``flows/reproduce.py``), as many as may run at a time."""

import contextlib
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROGRAM = Path(__file__).with_name("reproduce.py")
_STOPPED = "stopped with its run"
_DIED = "its process ended without a word; it may have been out of memory"
_PATIENCE = 10.0  # seconds for a process to end when asked to


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: it ran, it was up to date, or there was a problem (one line)."""

    stage: str
    ran: bool
    problem: str | None

    @property
    def word(self) -> str:
        """For tables."""
        return "failed" if self.problem else "ran" if self.ran else "up to date"


class Runners:
    """A fixed number of runners for the repository in the working directory; a context that ends them.

    When an exception leaves the body (an interrupt, a cancelled run), stages that still run are ended too.
    """

    def __init__(self, number: int) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._started: list[_Runner] = []
        self._is_stopped = False
        self._free: queue.SimpleQueue[_Runner | None] = queue.SimpleQueue()  # None: not started yet
        for _ in range(number):
            self._free.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._is_stopped = error is not None
        for runner in self._started:
            runner.end()

    def reproduce(self, stage: str) -> Outcome:
        """Bring one stage up to date in a runner that is free, or as soon as one is."""
        runner = self._free.get()
        try:
            runner = runner or self._start()
            ran, problem = runner.reproduce(stage)
        except (EOFError, OSError):
            self._drop(runner)
            runner, ran, problem = None, False, _DIED
        finally:
            self._free.put(runner)
        self.outcomes[stage] = Outcome(stage, ran, _STOPPED if problem and self._is_stopped else problem)
        return self.outcomes[stage]

    def _start(self) -> "_Runner":
        if self._is_stopped:
            raise EOFError
        self._started.append(_Runner())
        return self._started[-1]

    def _drop(self, runner: "_Runner | None") -> None:
        # Its stage may have survived it, and would write beside whoever takes the stage up again.
        if runner is not None and not self._is_stopped:
            self._started.remove(runner)
            runner.end()


class _Runner:
    def __init__(self) -> None:
        self._channel, theirs = multiprocessing.Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(theirs.fileno())],
            env=_environment(),
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # it and its stage are one group, that is ended as one
        )
        theirs.close()

    def reproduce(self, stage: str) -> tuple[bool, str | None]:
        self._channel.send(stage)
        ran, problem = self._channel.recv()
        return ran, problem

    def end(self) -> None:
        with contextlib.suppress(OSError):  # it may have died
            self._channel.send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        with contextlib.suppress(ProcessLookupError):  # a stage may have outlived its runner
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _environment() -> dict[str, str]:
    # The commands of dvc.yaml say "python": it must be this one.
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {**os.environ, "PATH": os.pathsep.join(path), "DVC_NO_ANALYTICS": "1"}
