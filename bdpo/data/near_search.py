"""Near-duplicates among all pairs, found on disk."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from bdpo.data.near import similar
from bdpo.data.spool import SpoolReader

SEQ = "(block << 32) + row"
"""Orders pairs as they came."""
_COMPARED = 8
"""The first pairs with a value in common, with which each later one is compared."""
_AT_A_TIME = 8192
_FOUND = pa.schema([pa.field("seq", pa.int64()), pa.field("first", pa.int64())])


def refuse_near_duplicates(connection: Any, spool: SpoolReader, facts: str, threshold: float) -> None:
    """Add to the table `problems` (seq, rule, reason) every pair that is nearly an earlier one.

    The earlier one may itself be refused as nearly one before it; one that another rule refuses counts for
    nothing.  Each is compared with the first few alone that have a value in common with it: where these are many and
    unlike it, the one that it resembles may not be among them.

    Args:
        connection: of DuckDB.
        spool: the pairs.
        facts: FACTS, as a table of SQL.
        threshold: least similarity of near-duplicates.
    """
    connection.execute(
        f"create table places as select {SEQ} as seq, block, row, bucket, file, line from {facts} "
        f"where {SEQ} not in (select seq from problems)"
    )
    connection.execute(
        f"create table met as select value, seq, row_number() over (partition by value order by seq) as nth from "
        f"(select unnest(bands) as value, {SEQ} as seq from {facts} where {SEQ} in (select seq from places)) "
        "qualify count(*) over (partition by value) > 1"
    )
    connection.execute(
        "create table met_pairs as select distinct later.seq, first.seq as first from met later join met first "
        f"on first.value = later.value and first.nth <= {_COMPARED} and first.seq < later.seq"
    )
    reader = connection.sql(
        "select p.seq, p.block, p.row, p.bucket, f.seq as first, f.block as first_block, f.row as first_row, "
        "f.bucket as first_bucket from met_pairs m join places p on p.seq = m.seq join places f on f.seq = m.first "
        "order by p.seq, f.seq"
    ).to_arrow_reader(_AT_A_TIME)
    found = [pa.Table.from_pylist(list(_similar(batch, spool, threshold)), _FOUND) for batch in reader]
    connection.register("near", pa.concat_tables([_FOUND.empty_table(), *found]))
    connection.execute(
        "insert into problems select n.seq, 'near_duplicate', 'nearly the same pair as ' || p.file || ':' || p.line "
        "from (select seq, min(first) as first from near group by seq) n join places p on p.seq = n.first"
    )
    connection.unregister("near")


def _similar(pairs: pa.RecordBatch, spool: SpoolReader, threshold: float) -> Iterator[dict[str, int]]:
    """Those of some pairs of pairs that are near-duplicates."""
    rows = pairs.to_pylist()
    wanted: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for row in rows:
        wanted[row["block"], row["bucket"]].add(row["row"])
        wanted[row["first_block"], row["first_bucket"]].add(row["first_row"])
    texts: dict[tuple[int, int], dict[str, Any]] = {}
    for (block, bucket), of_place in sorted(wanted.items()):
        batch = spool.texts(block, bucket)
        for text in batch.filter(pa.array(np.isin(batch["row"].to_numpy(), list(of_place)))).to_pylist():
            texts[block, text["row"]] = text
    for row in rows:
        if similar(texts[row["block"], row["row"]], texts[row["first_block"], row["first_row"]], threshold):
            yield {"seq": row["seq"], "first": row["first"]}
