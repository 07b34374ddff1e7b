"""Writing Parquet files that are there whole or not at all."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 8192
"""Rows in a row group, which no reader has to hold more of: of a million, nested texts beyond 2 GiB cannot be read."""


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table (zstd) to a temporary name, sync it and rename it into place.

    A killed writer leaves `path` as it was, and at most a `.tmp` file beside it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", row_group_size=_GROUP_ROWS)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
