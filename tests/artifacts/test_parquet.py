"""Parquet files are written in row groups that a reader can hold."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.artifacts.parquet import write_parquet


def test_no_row_group_is_large(tmp_path: Path) -> None:
    table = pa.table({"prompt": [[{"role": "user", "content": str(i)}] for i in range(20_000)]})
    write_parquet(table, tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.parquet"]
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [8192, 8192, 3616]
    assert pq.read_table(tmp_path / "x.parquet").equals(table)
