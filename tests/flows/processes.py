import os
import time

import psutil


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def is_alive(pid):
    """Whether a process runs; one that has ended and that nobody asked about yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def group(leader):
    """The processes of a group that run."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == leader and is_alive(pid):
                found.append(pid)
        except ProcessLookupError:
            pass
    return found
