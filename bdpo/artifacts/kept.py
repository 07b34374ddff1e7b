"""Results that are computed once and kept in files which show by themselves whether they are whole."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.artifacts.digest import digest_file, digest_value
from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import write_atomically


def kept_table(folder: Path, name: str, make: Callable[[], pa.Table]) -> pa.Table:
    """A table that is kept as `<name>-<SHA-256 of the file>.parquet`; what is damaged is deleted and made again.

    Args:
        folder: is made if it is not there.
        name: of letters, digits, `-` and `_`; no other table of the folder may have it.
        make: makes the table where none is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob(f"{name}-*.parquet")):
        if path.stem == f"{name}-{digest_file(path)}":
            return pq.read_table(path)
        path.unlink()
    new = folder / f"{name}.{secrets.token_hex(8)}.new"
    write_parquet(make(), new)
    path = folder / f"{name}-{digest_file(new)}.parquet"
    new.rename(path)
    return pq.read_table(path)


def kept_json(path: Path, make: Callable[[], Any]) -> Any:
    """A JSON value that is kept beside its digest; what is damaged is made again.

    Args:
        path: the file, whose folder is made if it is not there.
        make: makes the value where none is kept.
    """
    try:
        kept = json.loads(path.read_bytes())
        if kept["digest"] == digest_value(kept["value"]):
            return kept["value"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged
    value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"value": value, "digest": digest_value(value)}) + "\n")
    return value
