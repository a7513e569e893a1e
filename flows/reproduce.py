"""A process that reproduces DVC stages one by one, as its parent asks for them, and ends with the parent.

A process of its own, because DVC's locks belong to a process id, and because only so the last words of one
stage can be told from those of another that runs beside it. Kept for many stages: loading DVC costs more than
a stage that is up to date. Run as a file, so that it needs nothing but DVC on its path.
"""

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage.exceptions import StageCmdFailedError

_KEPT_BYTES = 8192  # of stderr: enough for the last line of any traceback


def main(channel: int) -> None:
    """Answer each stage name that arrives with (it ran, what went wrong), until None arrives or the parent dies."""
    with Connection(channel) as parent, contextlib.suppress(BrokenPipeError):
        asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(parent, asked), daemon=True).start()
        while (stage := asked.get()) is not None:
            parent.send(reproduce(stage))


def _listen(parent: Connection, asked: "queue.SimpleQueue[str | None]") -> None:
    with contextlib.suppress(EOFError, OSError):
        while (stage := parent.recv()) is not None:
            asked.put(stage)
    asked.put(None)
    # A stage without its run would write beside the next one. DVC itself lives on to give its locks back.
    while True:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.1)


def reproduce(stage: str) -> tuple[bool, str | None]:
    """Bring one stage up to date: whether it ran, and in one line what went wrong."""
    problem: Exception | None = None
    ran = False
    with _stderr_recorded() as stderr:
        try:
            # Waits, because DVC holds its lock while it hashes a model: longer than it is patient by default.
            with Repo(".", _wait_for_lock=True) as repo:
                ran = bool(repo.reproduce(targets=[stage], single_item=True))
        except (DvcException, OSError) as error:
            problem = error
    return ran, None if problem is None else _explained(problem, stderr.decode(errors="replace"))


def _explained(error: Exception, stderr: str) -> str:
    cause = error.__cause__ or error
    if not isinstance(cause, StageCmdFailedError):
        return " ".join(str(cause).split())
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("error:")] or lines
    status = str(cause).rpartition(", ")[2]  # "exited with 1"
    return f"{named[-1]} ({status})" if named else status


@contextlib.contextmanager
def _stderr_recorded() -> Iterator[bytearray]:
    """Pass stderr on and keep its end, also of the processes that are started meanwhile."""
    kept = bytearray()
    shown, (source, sink) = os.dup(2), os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    reader = threading.Thread(target=_pass_on, args=(source, shown, kept), daemon=True)
    reader.start()
    try:
        yield kept
    finally:
        os.dup2(shown, 2)
        reader.join(timeout=2)  # a process that a stage left behind may hold the pipe open


def _pass_on(source: int, shown: int, kept: bytearray) -> None:
    while chunk := os.read(source, 4096):
        os.write(shown, chunk)
        kept += chunk
        del kept[:-_KEPT_BYTES]
    os.close(source)
    os.close(shown)


if __name__ == "__main__":
    main(int(sys.argv[1]))
