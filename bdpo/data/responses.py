"""Single responses, sorted by prompt on disk, so that those of one prompt can be paired."""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.artifacts.duck import bounded, connect, exact_files
from bdpo.data.blocks import BLOCK_ROWS, Block
from bdpo.data.formats.beavertails import Response, pair_responses
from bdpo.data.rows import Parsed, RawRow
from bdpo.data.sources import Shape

_MEMORY_MIB = 512
_RESPONSES = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("raw", pa.binary()),
        pa.field("prompt", pa.string()),
        pa.field("response", pa.string()),
        pa.field("safe", pa.bool_()),
        pa.field("harms", pa.list_(pa.string())),
        pa.field("meta", pa.string()),
    ]
)


def pair_blocks(shape: Shape, blocks: Iterable[Block], scratch: Path) -> Iterator[list[Parsed]]:
    """Pair the responses to each prompt, whatever lies between them.

    Args:
        shape: of rows that are single responses.
        blocks: the rows.
        scratch: a folder for them.

    Yields:
        Rows that are no response, in their order; then pairs and responses without one, in the order in which
        their prompts first came.
    """
    path = scratch / "responses.parquet"
    seq = 0
    with pq.ParquetWriter(path, _RESPONSES, compression="lz4") as writer:
        for block in blocks:
            others: list[Parsed] = []
            rows = []
            for raw, response in shape.parse_responses(block.rows()):
                if isinstance(response, Response):
                    meta = json.dumps(response.meta, default=str)
                    rows.append((seq, *raw[:3], *response[:4], meta))
                    seq += 1
                else:
                    others.append(Parsed((raw,), response))
            columns = zip(*rows, strict=True) if rows else [[] for _ in _RESPONSES]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _RESPONSES, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=_RESPONSES))
            yield others
    pairs: list[Parsed] = []
    num_rows = 0
    for parsed in pair_responses(_by_prompt(path)):
        pairs.append(parsed)
        num_rows += len(parsed.rows)
        if num_rows >= BLOCK_ROWS:
            yield pairs
            pairs, num_rows = [], 0
    yield pairs


def _by_prompt(path: Path) -> Iterator[list[tuple[RawRow, Response]]]:
    """The responses to each prompt, in the order in which prompts and responses came."""
    with (
        connect(path.with_suffix(".duckdb")) as connection,
        bounded(connection, memory_mib=_MEMORY_MIB, spill=path.with_suffix(".spill")),
    ):
        written = f"read_parquet({exact_files(path)})"
        reader = connection.sql(
            f"select r.* exclude (seq), first from (select prompt, min(seq) as first from {written} group by prompt) "
            f"join {written} r using (prompt) order by first, seq"
        ).to_arrow_reader(BLOCK_ROWS)
        rows = (row for batch in reader for row in batch.to_pylist())
        for _, group in groupby(rows, key=lambda row: row["first"]):
            yield [(RawRow(row["file"], row["line"], row["raw"], {}), _response(row)) for row in group]


def _response(row: dict[str, Any]) -> Response:
    return Response(row["prompt"], row["response"], row["safe"], row["harms"], json.loads(row["meta"]))
