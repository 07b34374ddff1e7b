"""Telling a disk that cannot be written to from a bug."""

import errno
import os
import shutil
from pathlib import Path

from bdpo.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
}
_PHRASES = {
    "no space left on device": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
    "permission denied": errno.EACCES,
}


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
    """The sentence for an error that the disk caused, else None; also for a UserError, which is a sentence already.

    Arrow, DuckDB, safetensors and torch wrap the system's error in types of
    their own, so where the number is missing the system's words are looked for.
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
    if number not in _REASONS:
        text = str(error).lower()
        number = next((code for phrase, code in _PHRASES.items() if phrase in text), None)
    if number is None:
        return None
    place = getattr(error, "filename", None) or root
    return UserError(
        f"{place}: {_REASONS[number]}; nothing finished is lost: make room there or choose another folder for the "
        f"artifacts (`artifacts:` is {root}), then run the same command again."
    )
