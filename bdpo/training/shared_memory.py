"""DeepSpeed's shared memory on a CPU: 66 MiB a process under /dev/shm, which stays there however the process ends."""

import os
import time
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux

_YOUNG_S = 60.0


def unlink_own(folder: Path = FOLDER) -> None:
    """Leave this process's memory to those that have it open, so that it goes when they do.

    To be called when every process of the training has opened it.
    """
    for path in folder.glob(f"{_prefix()}*_{os.environ['MASTER_PORT']}_{os.environ['RANK']}"):
        path.unlink()


def unlink_orphans(folder: Path = FOLDER) -> list[str]:
    """Remove what trainings left that were killed before `unlink_own`; the names of it.

    What a living process has mapped stays, and what is so young that its maker may not have mapped it yet.
    """
    found = [path for path in folder.glob(f"{_prefix()}*") if _is_old(path)]
    mapped = _mapped() if found else ""
    orphans = [path for path in found if str(path) not in mapped]
    for path in orphans:
        path.unlink(missing_ok=True)
    return [path.name for path in orphans]


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - _YOUNG_S
    except FileNotFoundError:
        return False


def _prefix() -> str:
    return f"deepspeed_allreduce_buffer_{os.getuid()}_"


def _mapped() -> str:
    """What the processes that this user may look into have mapped, as the kernel lists it."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # ended meanwhile, or another user's, who cannot have mapped what is ours alone
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(texts)
