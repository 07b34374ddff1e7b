"""Locks between processes."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def hold(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; the system frees it when the process ends, however it ends.

    Args:
        path: the lock's file, which stays.
        waiting: called once if another process holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def join(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Keep a lock from whoever would `hold` it, beside others that join; arguments as `hold`."""
    # NFS gives a shared lock only on a file that is open for reading.
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_SH)
        yield
