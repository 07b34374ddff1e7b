"""Telling a disk that cannot be written to from a bug."""

import errno
import os
import re
import shutil
from pathlib import Path

from bdpo.errors import ProcessFailed, UserError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "make room there"),
    errno.EDQUOT: ("the disk quota is used up", "make room there"),
    errno.EROFS: ("the file system is read-only", "make it writable"),
    errno.EACCES: ("permission is denied", "allow it"),
    errno.EPERM: ("the operation is not permitted", "allow it"),
}
"""What is said of an error's number, and what to do."""
_PHRASES = {
    "no space left on device": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "permission denied": errno.EACCES,
}
_PATH = re.compile(r"(?<![\w/:])/[^\s'\"<>:;,()]+")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux

_SMALLEST_ROOM = 64 * 1024
"""Bytes; a disk with less is full."""


def full_disk_error(folder: Path) -> OSError | None:
    """The error of a folder's disk to which next to nothing can be written, else None.

    A child process that ended because of it may not even have been able to say so.
    """
    if shutil.disk_usage(folder).free >= _SMALLEST_ROOM:
        return None
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def explain_disk_error(error: BaseException, root: Path) -> UserError | None:
    """The sentence for an error that a disk caused, else None; also for a UserError, which is a sentence already.

    Arrow, DuckDB, safetensors and torch wrap the system's error in types of
    their own, so where the number is missing the system's words are looked for.

    Args:
        error: what was raised.
        root: of the artifacts, whose disk it was where the error names no other place.
    """
    if isinstance(error, UserError):
        return None
    if isinstance(error, (FileExistsError, NotADirectoryError)) and error.filename:
        path = Path(os.fsdecode(error.filename))
        taken = next((p for p in (path, *path.parents) if p.is_file()), None)
        if taken is not None and (taken == root or taken in root.parents or root in taken.parents):
            return UserError(
                f"{taken} is a file where a folder is needed: move it away or choose another folder for the artifacts "
                f"(`artifacts:` is {root})."
            )
    number = error.errno if isinstance(error, OSError) else None
    if number in _REASONS:
        named = getattr(error, "filename", None)
        place = Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else root
    else:
        found = _read(str(error), root, log=isinstance(error, ProcessFailed))
        if found is None:
            return None
        number, place = found
    reason, remedy = _REASONS[number]
    if _SHARED_MEMORY in (place, *place.parents):
        remedy = "free shared memory, of which a container has more by Docker's --shm-size (job variable shared_memory)"
    elif not place.is_absolute() or place.resolve().is_relative_to(root.resolve()):
        remedy += f" or choose another folder for the artifacts (`artifacts:` is {root})"
    return UserError(f"{place}: {reason}; nothing finished is lost: {remedy}, then run the same command again.")


def _read(text: str, root: Path, *, log: bool) -> tuple[int, Path] | None:
    """Number and place of the error that a text speaks of in the system's words.

    Args:
        text: what an error says.
        root: of the artifacts.
        log: the text ends with another process's log, in which such words count of the artifacts alone: what else
            failed there is not known.
    """
    for line in text.splitlines():
        number = next((code for phrase, code in _PHRASES.items() if phrase in line.lower()), None)
        if number is None:
            continue
        if str(root) in line:
            return number, root
        if not log:
            path = _PATH.search(line)
            return number, root if path is None else Path(path[0])
    return None
