"""Pairs on disk until all are seen, in a file a process; found again by block and bucket.

A bucket is a range of `pair_id`.  Each holds about as many pairs as any other, so
sorting bucket by bucket sorts everything in bounded memory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bdpo.schemas import PAIRS

NUM_BUCKETS = 128
_CODEC = pa.Codec("lz4_raw")
_ORIGIN = pa.struct([pa.field("file", pa.string()), pa.field("line", pa.int64()), pa.field("row", pa.binary())])
"""A row that a pair was made of: one, or every annotation of both where single responses were paired."""
ROW = pa.field("row", pa.int32(), nullable=False)
"""Number of a pair in its block, counted from 0."""
TEXTS = pa.schema([ROW, *PAIRS])
ORIGINS = pa.schema([ROW, pa.field("origins", pa.list_(_ORIGIN))])
Places = NDArray[np.int64]
"""(NUM_BUCKETS, 3): where each bucket of a block begins in the file, its size there, and unpacked, in bytes."""


class Spooled(NamedTuple):
    """Where the pairs of a block lie."""

    path: Path
    texts: Places
    origins: Places


def bucket_of(pair_id: str) -> int:
    """The bucket of a pair, from 0 to `NUM_BUCKETS` - 1, in the order of their pairs."""
    return int(pair_id[:2], 16) * NUM_BUCKETS // 256


class Spool:
    """A file of this process in a scratch folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"pairs-{os.getpid()}"
        self._file = self._path.open("ab")

    def write(self, texts: pa.RecordBatch, origins: pa.RecordBatch) -> Spooled:
        """Append the pairs of a block: batches of TEXTS and of ORIGINS, in the same order, by `pair_id`."""
        starts = [f"{256 * bucket // NUM_BUCKETS:02x}" for bucket in range(1, NUM_BUCKETS)]
        ids = texts["pair_id"].to_numpy(zero_copy_only=False).astype(str)
        bounds = [0, *np.searchsorted(ids, starts).tolist(), len(ids)]
        places = Spooled(self._path, self._append(texts, bounds), self._append(origins, bounds))
        self._file.flush()
        return places

    def _append(self, batch: pa.RecordBatch, bounds: Sequence[int]) -> Places:
        places = np.zeros((NUM_BUCKETS, 3), np.int64)
        at = self._file.tell()
        for bucket, (first, end) in enumerate(pairwise(bounds)):
            if end > first:
                data = batch.slice(first, end - first).serialize()
                packed = _CODEC.compress(data, asbytes=True)
                self._file.write(packed)
                places[bucket] = at, len(packed), data.size
                at += len(packed)
        return places


@dataclass
class SpoolReader:
    """The files of all processes."""

    blocks: dict[int, Spooled]
    """By number."""

    def __post_init__(self) -> None:
        self._open: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def texts(self, block: int, bucket: int) -> pa.RecordBatch:
        """The pairs of a block that lie in a bucket: TEXTS."""
        return self._read(self.blocks[block].path, self.blocks[block].texts[bucket], TEXTS)

    def origins(self, block: int, bucket: int) -> pa.RecordBatch:
        """What the pairs of a block that lie in a bucket were made of: ORIGINS."""
        return self._read(self.blocks[block].path, self.blocks[block].origins[bucket], ORIGINS)

    def _read(self, path: Path, place: Places, schema: pa.Schema) -> pa.RecordBatch:
        if path not in self._open:
            self._open[path] = os.open(path, os.O_RDONLY)
        offset, size, unpacked = map(int, place)
        packed = os.pread(self._open[path], size, offset)
        return pa.ipc.read_record_batch(_CODEC.decompress(packed, unpacked), schema)
