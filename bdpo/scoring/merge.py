"""From shards to the score store that people query and training reads."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from bdpo.artifacts.duck import connect, literal
from bdpo.schemas import SCORED_PAIRS

_VIEW = """
CREATE VIEW scored_pairs AS
WITH summed AS (
    SELECT
        pair_id, prompt, pairs.chosen, pairs.rejected, split, source, category,
        c.n_tokens AS chosen_tokens, r.n_tokens AS rejected_tokens,
        c.logp_sum AS ref_chosen_logps, r.logp_sum AS ref_rejected_logps,
        null_c.logp_sum AS null_chosen_logps, null_r.logp_sum AS null_rejected_logps,
        -- I(x; y) = (logp(y|x) - logp(y|0)) / |y|, nats a token
        (c.logp_sum - null_c.logp_sum) / c.n_tokens AS mi_chosen,
        (r.logp_sum - null_r.logp_sum) / r.n_tokens AS mi_rejected,
        mi_chosen - mi_rejected AS imbalance,
        chosen_key, rejected_key, null_chosen_key, null_rejected_key
    FROM pairs
    JOIN sequences c ON c.key = chosen_key
    JOIN sequences r ON r.key = rejected_key
    JOIN sequences null_c ON null_c.key = null_chosen_key
    JOIN sequences null_r ON null_r.key = null_rejected_key
)
SELECT *, {weights} FROM summed ORDER BY pair_id
"""


def merge(path: Path, *, pairs: pa.Table, shards: Sequence[Path], weights: str) -> pa.Table:
    """Write the tables `sequences` and `pairs` and the view `scored_pairs` to a new DuckDB file.

    Args:
        path: the file; one that is there is replaced once the new one is complete.
        pairs: columns of PAIRS and the four keys.
        shards: Parquet files that hold every sequence that `pairs` asks for.
        weights: select list for the view, from `bdpo.balance.weights_sql`.

    Returns:
        The rows of `scored_pairs`, columns and order of SCORED_PAIRS.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    for leftover in (temporary, temporary.with_name(f"{temporary.name}.wal")):
        leftover.unlink(missing_ok=True)
    files = ", ".join(literal(shard) for shard in shards)
    with connect(temporary) as connection:
        connection.register("incoming", pairs)
        connection.execute("CREATE TABLE pairs AS SELECT * FROM incoming ORDER BY pair_id")
        connection.unregister("incoming")
        connection.execute(
            f"""
            CREATE TABLE sequences AS
            SELECT key, logp_sum, n_tokens, logps FROM read_parquet([{files}])
            WHERE key IN (SELECT unnest([chosen_key, rejected_key, null_chosen_key, null_rejected_key]) FROM pairs)
            ORDER BY key
            """
        )
        connection.execute(_VIEW.format(weights=weights))
        columns = ", ".join(SCORED_PAIRS.names)
        scored: pa.Table = connection.sql(f"SELECT {columns} FROM scored_pairs ORDER BY pair_id").to_arrow_table()
    assert scored.num_rows == pairs.num_rows, "a sequence is missing, or there twice"
    temporary.replace(path)
    return scored.cast(SCORED_PAIRS)
