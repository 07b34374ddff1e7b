"""Scored sequences on disk, a shard at a time, shared by all runs.

<cache>/<scorer digest>/<SHA-256 of the file>.parquet

A shard is immutable and named by its content, so a file that was cut short or
altered is told from a whole one; it is deleted and its sequences scored again.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.locks import hold
from bdpo.artifacts.parquet import write_parquet
from bdpo.schemas import SEQUENCES


class Shards:
    """The shards of one scorer."""

    def __init__(self, folder: Path) -> None:
        """Take the scorer's folder, which is made if it is not there."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def lock(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Be the only process that scores for this scorer: what another one finishes need not be done twice.

        Args:
            waiting: called once if another process holds it.
        """
        return hold(self.folder.with_suffix(".lock"), waiting)

    def sweep(self) -> list[str]:
        """Delete whatever is no whole shard, and name it.  To be called under the lock."""
        debris = [path for path in sorted(self.folder.iterdir()) if path.is_file() and not _is_whole(path)]
        for path in debris:
            path.unlink()
        return [path.name for path in debris]

    def paths(self) -> list[Path]:
        """All shards, in an order that does not change."""
        return sorted(self.folder.glob("*.parquet"))

    def find(self, keys: Collection[str]) -> set[str]:
        """Those of `keys` that are scored."""
        paths = self.paths()
        if not paths:
            return set()
        table = ds.dataset([str(path) for path in paths], schema=SEQUENCES).to_table(columns=["key"])
        return set(keys).intersection(table.column("key").to_pylist())

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Commit sequences, rows of the SEQUENCES schema, as a shard."""
        new = self.folder / f"new-{os.getpid()}.parquet"
        write_parquet(pa.Table.from_pylist(list(records), SEQUENCES), new)
        new.rename(self.folder / f"{digest_file(new)}.parquet")


def _is_whole(path: Path) -> bool:
    return path.suffix == ".parquet" and path.stem == digest_file(path)
