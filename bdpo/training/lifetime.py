"""Children that do not outlive the process that wants their work, however it ends."""

import os
import signal
import threading
import time

import psutil

_PERIOD_S = 0.5


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


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started, and wait until they are gone."""
    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)


def _is_alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
