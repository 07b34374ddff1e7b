"""The one place that opens DuckDB."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from bdpo.errors import UserError, first_line

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_THREAD_MIB = 128
"""What a thread may want at a time: DuckDB's guide asks for at least 125 MB."""


_BUSY = "Could not set lock on file"
"""What DuckDB says of a file that another process has open."""


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, timeout_s: float = 10.0, readable_since: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file for the length of a `with` block.

    DuckDB lets one process write, and none read beside it, so a busy file is
    tried again until `timeout_s` seconds have passed.

    Args:
        path: of the file; without `read_only` it is made where there is none.
        read_only: do not write, and wait for no other reader.
        timeout_s: how long to wait for another process.
        readable_since: the first DuckDB that can open a file that is made, such as `v1.0.0`; None for this one.

    Raises:
        UserError: the file stays busy, is missing (read-only), or is no DuckDB file.
        KeyboardInterrupt: Ctrl-C in a query, of which DuckDB makes an error of its own.
    """
    if read_only and not path.is_file():
        raise UserError(f"{path}: there is no such DuckDB file.")
    config = {} if readable_since is None else {"storage_compatibility_version": readable_since}
    connection = _open(path, read_only, config, timeout_s)
    try:
        yield connection
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise
    finally:
        connection.close()


@contextmanager
def made_whole(path: Path, *, readable_since: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Make a DuckDB file that can be renamed once the `with` block has ended: all of it is in it, nothing in its log.

    Closing brings what is in the log into the file, too, but says nothing where the disk has no room for that.

    Args:
        path: of the file, which is not there yet.
        readable_since: as for `connect`.

    Raises:
        duckdb.Error: the disk does not take it.
    """
    with connect(path, readable_since=readable_since) as connection:
        yield connection
        connection.execute("checkpoint")
    assert not log_of(path).exists(), "DuckDB holds back what was written"


def log_of(path: Path) -> Path:
    """Where DuckDB writes first what goes into a file."""
    return path.with_name(f"{path.name}.wal")


def _open(path: Path, read_only: bool, config: dict[str, Any], timeout_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + timeout_s
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=config)
        except duckdb.IOException as error:
            reason = first_line(error)
            if _BUSY not in reason:
                raise UserError(f"{path}: DuckDB cannot open this file: {reason}") from error
            if time.monotonic() >= deadline:
                seconds = "second" if timeout_s == 1 else "seconds"
                raise UserError(
                    f"{path}: another process has held this DuckDB file for {timeout_s:g} {seconds}; "
                    "close it there, then try again."
                ) from error
        except duckdb.Error as error:
            raise UserError(f"{path}: DuckDB cannot open this file: {first_line(error)}") from error
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


@contextmanager
def bounded(connection: duckdb.DuckDBPyConnection, *, memory_mib: int, spill: Path) -> Iterator[None]:
    """Let queries within take so much memory, on no more threads than it is enough for; what else they need is on disk.

    Args:
        connection: from `connect`.
        memory_mib: memory of all threads together, in MiB.
        spill: the folder for the rest.

    Raises:
        UserError: it is too little for a query.
    """
    [(threads,)] = connection.execute("select current_setting('threads')").fetchall()
    connection.execute(f"set memory_limit = '{memory_mib}MiB'")
    connection.execute(f"set threads = {max(1, min(threads, memory_mib // _THREAD_MIB))}")
    connection.execute(f"set temp_directory = {literal(spill)}")
    try:
        yield
    except Exception as error:
        if not isinstance(error, duckdb.OutOfMemoryException):
            raise
        raise UserError(
            f"{spill.parent}: the {memory_mib} MiB that DuckDB may take here are too little ({first_line(error)}); "
            "read fewer rows, by the `limit` or `weight` of a source."
        ) from error


def literal(text: object) -> str:
    """A SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def exact_files(*files: Path) -> str:
    """Arguments for `read_parquet` and `read_json` that read these files and no others, with their own columns alone.

    DuckDB takes `[1]`, `*` and `?` in a path for a pattern, and `name=value` for a column.
    """
    patterns = (re.sub(r"[\[*?]", r"[\g<0>]", str(file)) for file in files)
    return f"[{', '.join(map(literal, patterns))}], hive_partitioning = false"


def file_of(pattern: str) -> str:
    """The path that `exact_files` made a pattern of."""
    return re.sub(r"\[([\[*?])\]", r"\g<1>", pattern)
