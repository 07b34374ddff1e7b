"""Locks between processes."""

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from bdpo.errors import UserError

_LOCK = "lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def hold(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; the system frees it when the process ends, however it ends.

    Args:
        path: the lock's file, which stays.
        waiting: called once if another process holds it.

    Raises:
        UserError: the file system has no locks.
    """
    # It would fall back to a file that stays when its process is killed, and for which all would wait for ever.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise _without_locks(path) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def join(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Keep a lock from whoever would `hold` it, beside others that join; arguments as `hold`.

    Raises:
        UserError: the file system has no locks.
    """
    # NFS gives a shared lock only on a file that is open for reading.
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise _without_locks(path) from None
        yield


def _without_locks(path: Path) -> UserError:
    return UserError(
        f"{path.parent}: this file system gives no locks (flock), by which processes and machines take turns; have it "
        "mounted with them, as Lustre with -o flock, or use a folder on another (artifacts in the config; for the "
        "cache, XDG_CACHE_HOME)."
    )


@contextmanager
def own_folder(place: Path) -> Iterator[Path]:
    """A new folder for the work of this process, gone at the end; those that killed processes left are removed.

    Args:
        place: where such folders lie; made if it is not there.
    """
    place.mkdir(parents=True, exist_ok=True)
    # Nobody clears up between the making of a folder and its lock.
    with hold(place / _LOCK, lambda: None):
        for left in [folder for folder in place.iterdir() if folder.is_dir()]:
            with suppress(Timeout), FileLock(left / _LOCK).acquire(timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=place))
        lock = FileLock(folder / _LOCK)
        lock.acquire()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
