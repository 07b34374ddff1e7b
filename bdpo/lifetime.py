"""Children that do not outlive the process that wants their work, however it ends."""

import os
import signal
import threading
import time
from contextlib import suppress

import psutil

_PERIOD_S = 0.5
_PATIENCE_S = 30.0


def die_with(pid: int, started: float) -> None:
    """Kill this process as soon as another one is gone, watching from a thread.

    A launched training that went on without its parent would write into a
    workspace that the next run has taken over.  The launcher stands in between
    and passes no file descriptor on, so the parent is watched by number.

    Args:
        pid: the process to watch.
        started: its creation time, by which it is told from a later process of that number.
    """

    def watch() -> None:
        while _is_alive(pid, started):
            time.sleep(_PERIOD_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def kill_group(leader: int) -> None:
    """Kill every process of a group, and wait until they are gone.

    By group rather than by parentage: what a killed launcher started has no parent left that leads to it.

    Args:
        leader: the process that was started as the group's first (`process_group=0` or a new session);
            it may have ended.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while members := _members(leader):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {members} of the group {leader} do not end, though killed")
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _members(leader: int) -> list[int]:
    """Living processes of a group; a zombie has ended and only waits to be counted."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _is_alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
