"""Which held-out pairs are ranked."""

from pathlib import Path

import pyarrow as pa

from bdpo.artifacts.parquet import write_parquet
from bdpo.evaluation.preference import held_out_pairs


def test_a_limit_spreads_evenly_and_says_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    splits = ["validation"] * 6 + ["train"] * 3
    write_parquet(pa.Table.from_pylist([{"pair_id": str(i), "split": s} for i, s in enumerate(splits)]), path)

    def found(limit: int | None) -> tuple[list[str], int | None]:
        pairs, limited_from = held_out_pairs(path, limit)
        return [pair["pair_id"] for pair in pairs], limited_from

    assert found(3) == (["0", "2", "4"], 6)
    assert found(6) == (list("012345"), None)
    assert found(None) == (list("012345"), None)
