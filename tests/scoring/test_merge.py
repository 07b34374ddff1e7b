"""The store's view against numbers worked out by hand."""

import hashlib
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from bdpo.artifacts.store import ArtifactStore, Identity
from bdpo.balance import method_forms, weights_sql
from bdpo.schemas import SCORED_PAIRS
from bdpo.scoring.merge import merge
from bdpo.scoring.shards import Shards
from tests.scoring.stored import pairs_table, shard_paths, store
from tests.small_files import run_with_small_files

WEIGHTS = weights_sql(forms=method_forms("bdpo"), mi_floor=0.05, tau=1.0)


def test_the_view_by_hand(tmp_path: Path) -> None:
    columns = "pair_id, chosen_tokens, rejected_tokens, ref_chosen_logps, null_rejected_logps, mi_chosen, mi_rejected"
    with duckdb.connect(str(store(tmp_path)), read_only=True) as connection:
        rows = connection.execute(f"select {columns}, imbalance from scored_pairs").fetchall()
        weights = f"(select {WEIGHTS} from scored_pairs)"
        scaled = connection.execute(f"select weight_chosen * scale, weight_rejected * scale from {weights}").fetchall()
    assert rows == [
        ("a", 2, 1, -2.0, -5.0, 2.0, 1.0, 1.0),
        ("b", 2, 1, -2.0, -1.5, 1.0, 1.0, 0.0),
        ("c", 2, 2, -4.0, -6.0, -1.0, 1.5, -2.5),
        ("d", 1, 4, -1.0, -16.0, 0.5, 2.0, -1.5),
    ]
    # s * w_w = 2 I_l / (I_w + I_l); c's chosen side stands at the floor 0.05
    by_hand = [(2 / 3, 4 / 3), (1, 1), (3 / 1.55, 0.1 / 1.55), (1.6, 0.4)]
    assert [pytest.approx(pair, rel=1e-12) for pair in by_hand] == scaled


def test_the_parquet_file_has_the_view_s_rows_in_order(tmp_path: Path) -> None:
    path = store(tmp_path)
    table = pq.read_table(tmp_path / "scored_pairs.parquet")
    assert table.schema.names == SCORED_PAIRS.names
    assert table.column("pair_id").to_pylist() == ["a", "b", "c", "d"]
    with duckdb.connect(str(path), read_only=True) as connection:
        names = ", ".join(SCORED_PAIRS.names)
        viewed = connection.sql(f"select {names} from scored_pairs order by pair_id").to_arrow_table()
    assert viewed.to_pylist() == table.to_pylist()


def test_the_view_has_no_weights(tmp_path: Path) -> None:
    """They would be those of no training that ran; the catalogue's have those of the latest."""
    with duckdb.connect(str(store(tmp_path)), read_only=True) as connection:
        columns = [column[0] for column in connection.execute("describe scored_pairs").fetchall()]
    assert sorted(columns) == sorted(SCORED_PAIRS.names)


def test_a_folder_that_is_a_pattern_is_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "of1").mkdir()
    (tmp_path / "of[1]").mkdir()
    path = store(tmp_path / "of[1]")
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("select count(*) from scored_pairs").fetchall() == [(4,)]


def test_only_what_is_asked_for_is_kept_and_each_token_of_it(tmp_path: Path) -> None:
    with duckdb.connect(str(store(tmp_path)), read_only=True) as connection:
        kept = connection.execute("select count(*), bool_and(list_sum(logps) = logp_sum) from sequences").fetchall()
        keys = [key for (key,) in connection.execute("select key from sequences").fetchall()]
    assert kept == [(16, True)]
    assert keys == sorted(keys)
    assert "of another run" not in keys


def test_the_order_of_pairs_and_shards_changes_nothing(tmp_path: Path) -> None:
    shards, pairs = shard_paths(tmp_path), pairs_table()
    one = merge(tmp_path / "one.duckdb", pairs=pairs, shards=shards)
    other = merge(tmp_path / "other.duckdb", pairs=pairs.take([2, 0, 3, 1]), shards=shards[::-1])
    assert one.equals(other)


def test_of_a_sequence_that_two_machines_scored_the_same_one_is_taken_in_any_order(tmp_path: Path) -> None:
    """They differ by rounding: -2 and -2.25, of which the lower counts, I = (-2.25 - -6) / 2."""
    own = shard_paths(tmp_path / "one")
    other = Shards(tmp_path / "other" / "shards")
    other.write([{"key": "a chosen", "logp_sum": -2.25, "n_tokens": 2, "logps": [-1.5, -0.75]}])
    for shards in ([*own, *other.paths()], [*other.paths(), *own]):
        path = tmp_path / "scores.duckdb"
        first = merge(path, pairs=pairs_table(), shards=shards).to_pylist()[0]
        assert (first["pair_id"], first["ref_chosen_logps"], first["mi_chosen"]) == ("a", -2.25, 1.875)
        with duckdb.connect(str(path), read_only=True) as connection:
            kept = connection.execute("select logps from sequences where key = 'a chosen'").fetchall()
        assert kept == [([-1.5, -0.75],)]


def test_a_missing_sequence_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = store(tmp_path)
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(AssertionError, match="a sequence is missing"):
        merge(path, pairs=pairs_table(), shards=shard_paths(tmp_path)[:1])
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert not (tmp_path / "scores.duckdb.building").exists()


def test_a_full_disk_is_an_error_and_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    """DuckDB's log has room, and what closing makes of it has not."""
    path = store(tmp_path)
    before = path.read_bytes()
    again = "from tests.scoring.stored import store\nstore(Path(sys.argv[1]))"
    ended = run_with_small_files(again, tmp_path, size=len(before) // 2)
    assert ended.stderr.rstrip().endswith("File too large"), ended.stderr
    assert path.read_bytes() == before
    assert not (tmp_path / "scores.duckdb.building").exists()


def test_what_a_killed_merge_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    """SIGKILL while DuckDB sorts more than fits memory leaves a log and a folder of blocks beside its file."""
    store, identity = ArtifactStore(tmp_path), Identity("score", "abc", "demo", {}, {})
    workspace = store.begin(identity, afresh=False)
    building = workspace / "scores.duckdb.building"
    (building / "scores.duckdb.tmp").mkdir(parents=True)
    (building / "scores.duckdb.tmp" / "duckdb_temp_1_0_storage_DEFAULT-0.tmp").write_bytes(b"blocks")
    (building / "scores.duckdb").write_bytes(b"half a file")
    (building / "scores.duckdb.wal").write_bytes(b"half a log")
    assert store.begin(identity, afresh=False) == workspace
    kept = {path.name for path in workspace.iterdir()}
    merge(workspace / "scores.duckdb", pairs=pairs_table(), shards=shard_paths(tmp_path))
    assert {path.name for path in workspace.iterdir()} == kept - {building.name} | {"scores.duckdb"}
