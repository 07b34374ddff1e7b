"""Scored sequences on disk, a shard at a time, shared by all runs.

<cache>/<scorer digest>/<SHA-256 of the file>.parquet

A shard is immutable and named by its content, so a file that was cut short or
altered is told from a whole one; it is deleted and its sequences scored again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.locks import hold, join
from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.pieces import finished, unfinished
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

    def join(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Score beside others that have a share each of the same work; arguments as `lock`, which waits for all."""
        return join(self.folder.with_suffix(".lock"), waiting)

    def sweep(self) -> list[str]:
        """Delete whatever is no whole shard, and name it.  To be called under the lock."""
        debris = [path for path in sorted(self.folder.iterdir()) if path.is_file() and not _is_whole(path)]
        for path in debris:
            path.unlink()
        return [path.name for path in debris]

    def paths(self) -> list[Path]:
        """All shards, in an order that does not change."""
        return finished(self.folder)

    def find(self, keys: Collection[str], *, swept: bool) -> set[str]:
        """Those of `keys` that are scored, in whole shards; after a `sweep` all are."""
        paths = [path for path in self.paths() if swept or _is_whole(path)]
        if not paths:
            return set()
        table = ds.dataset([str(path) for path in paths], schema=SEQUENCES).to_table(columns=["key"])
        return set(keys).intersection(table.column("key").to_pylist())

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Commit sequences, rows of the SEQUENCES schema, as a shard."""
        self._commit(pa.Table.from_pylist(list(records), SEQUENCES))

    def forget(self, keys: Collection[str]) -> list[str]:
        """Take sequences out of the shards, so that they are scored again.  To be called under the lock.

        Returns:
            Names of the shards that are no more.
        """
        wanted = pa.array(list(keys), pa.string())
        gone = []
        for path in self.paths():
            table = pq.read_table(path, schema=SEQUENCES)
            kept = table.filter(pc.invert(pc.is_in(table.column("key"), value_set=wanted)))
            if kept.num_rows == table.num_rows:
                continue
            if kept.num_rows:
                self._commit(kept)
            path.unlink()
            gone.append(path.name)
        return gone

    def _commit(self, table: pa.Table) -> None:
        new = unfinished(self.folder)
        write_parquet(table, new)
        new.rename(self.folder / f"{digest_file(new)}.parquet")


def _is_whole(path: Path) -> bool:
    return path.suffix == ".parquet" and path.stem == digest_file(path)
