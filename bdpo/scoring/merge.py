"""From shards to the score store that people query and training reads."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from bdpo.artifacts.duck import exact_files, made_whole
from bdpo.schemas import SCORED_PAIRS

_BATCH_ROWS = 8192
"""Rows whose texts lie in one array, which holds 2 GiB."""
_PAIRS = """
CREATE TABLE pairs AS
SELECT
    incoming.*,
    c.n_tokens AS chosen_tokens, r.n_tokens AS rejected_tokens,
    c.logp_sum AS ref_chosen_logps, r.logp_sum AS ref_rejected_logps,
    null_c.logp_sum AS null_chosen_logps, null_r.logp_sum AS null_rejected_logps
FROM incoming
JOIN sequences c ON c.key = chosen_key
JOIN sequences r ON r.key = rejected_key
JOIN sequences null_c ON null_c.key = null_chosen_key
JOIN sequences null_r ON null_r.key = null_rejected_key
ORDER BY pair_id
"""
"""The sums stand beside their pair, so that a question about a million pairs joins nothing."""

_VIEW = """
CREATE VIEW scored_pairs AS
SELECT
    * EXCLUDE (chosen_safe, rejected_safe, meta),
    -- I(x; y) = (logp(y|x) - logp(y|0)) / |y|, nats a token
    (ref_chosen_logps - null_chosen_logps) / chosen_tokens AS mi_chosen,
    (ref_rejected_logps - null_rejected_logps) / rejected_tokens AS mi_rejected,
    mi_chosen - mi_rejected AS imbalance
FROM pairs
"""
"""Weights are of a training, and scores of none: only the catalogue knows which ran last."""


def merge(path: Path, *, pairs: pa.Table, shards: Sequence[Path]) -> pa.Table:
    """Write the tables `sequences` and `pairs` and the view `scored_pairs` to a new DuckDB file.

    It is built in a folder of its own, `<name>.building`, for DuckDB puts more files beside it: a log, and
    what does not fit memory.  What a killed merge leaves there, the next one deletes.

    Args:
        path: the file; one that is there is replaced once the new one is complete.
        pairs: columns of PAIRS and the four keys.
        shards: Parquet files that hold every sequence that `pairs` asks for; of one that several hold, one is taken.

    Returns:
        The rows of `scored_pairs`, columns and order of SCORED_PAIRS.
    """
    building = path.with_name(f"{path.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        scored = _build(building / path.name, pairs, shards)
        (building / path.name).replace(path)
    finally:
        shutil.rmtree(building)
    return scored.cast(SCORED_PAIRS)


def _build(path: Path, pairs: pa.Table, shards: Sequence[Path]) -> pa.Table:
    with made_whole(path) as connection:
        connection.register("incoming", pairs)
        connection.execute(
            f"""
            CREATE TABLE sequences AS
            SELECT key, logp_sum, n_tokens, logps FROM read_parquet({exact_files(*shards)})
            WHERE key IN (SELECT unnest([chosen_key, rejected_key, null_chosen_key, null_rejected_key]) FROM incoming)
            ORDER BY key, logp_sum
            """
        )
        # Two machines may both have scored a sequence.
        connection.execute("DELETE FROM sequences WHERE rowid NOT IN (SELECT min(rowid) FROM sequences GROUP BY key)")
        connection.execute(_PAIRS)
        connection.unregister("incoming")
        connection.execute(_VIEW)
        columns = ", ".join(SCORED_PAIRS.names)
        found = connection.sql(f"SELECT {columns} FROM scored_pairs ORDER BY pair_id")
        scored: pa.Table = found.to_arrow_table(_BATCH_ROWS)
    assert scored.num_rows == pairs.num_rows, "a sequence is missing"
    return scored
