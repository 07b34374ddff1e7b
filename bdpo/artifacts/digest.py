"""Digests of files and of values, the names of everything that is cached."""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any


def digest_value(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Within one process a file is read once as long as its inode, size and change time stay.
    """
    stat = path.stat()
    return _digest(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def digest_files(paths: Iterable[Path]) -> str:
    """One digest of several files' names and contents, in any order."""
    files = sorted(paths)
    with ThreadPoolExecutor() as pool:
        return digest_value(sorted(zip((p.name for p in files), pool.map(digest_file, files), strict=True)))


@lru_cache(maxsize=4096)
def _digest(path: Path, *_stat: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
