"""The catalogue: views over every artifact, never between a reader and a writer."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.artifacts.catalogue import CATALOGUE, Columns, new_run_id, note_run, query_catalogue, rebuild_catalogue
from bdpo.artifacts.manifest import MANIFEST
from bdpo.errors import UserError
from tests.artifacts.test_duck import hold
from tests.small_files import run_with_small_files


def add(root: Path, fingerprint: str, reasons: list[str]) -> None:
    folder = root / "ingest" / fingerprint
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"reason": reasons}), folder / "quarantine.parquet")
    (folder / MANIFEST).write_text("{}")


def query(root: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(root / CATALOGUE), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_plain_views_show_the_current_artifact_and_all_views_every_one(tmp_path: Path) -> None:
    root = tmp_path / "it's here"
    add(root, "aa", ["x"])
    add(root, "bb", ["y", "z"])
    rebuild_catalogue(root, {"ingest": "bb"}, {"quarantine": Columns("reason, 1 as one")})
    assert query(root, "select * from quarantine order by 1") == [("y", 1), ("z", 1)]
    assert query(root, "select * from all_quarantine order by all") == [("aa", "x", 1), ("bb", "y", 1), ("bb", "z", 1)]
    rebuild_catalogue(root, {"ingest": "bb"}, {"quarantine": Columns("reason", latest="count(*) over () as num_rows")})
    assert query(root, "select * from quarantine order by 1") == [("y", 2), ("z", 2)]
    assert query(root, "select * from all_quarantine order by all") == [("aa", "x"), ("bb", "y"), ("bb", "z")]
    rebuild_catalogue(root, {"ingest": "bb"}, {})
    assert query(root, "select * from all_quarantine order by all limit 1") == [("aa", "x")]
    assert query(root, "select * from quarantine order by 1 limit 1") == [("y",)]


def test_an_older_duckdb_can_open_it(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    version = int.from_bytes((tmp_path / CATALOGUE).read_bytes()[12:20], "little")
    # DuckDB 1.0 reads files of version 64 (its `version.map`), 2.0 makes others by default.
    assert version == 64


def test_a_column_that_an_older_artifact_lacks_is_null_there(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    add(tmp_path, "bb", ["y"])
    pq.write_table(pa.table({"reason": ["y"], "line": [7]}), tmp_path / "ingest" / "bb" / "quarantine.parquet")
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    found = query(tmp_path, "select artifact, reason, line from all_quarantine order by 1")
    assert found == [("aa", "x", None), ("bb", "y", 7)]


def test_artifacts_in_a_folder_that_is_a_pattern_are_not_those_beside_it(tmp_path: Path) -> None:
    for folder, reason in (("runs1", "another's"), ("runs[1]", "ours")):
        add(tmp_path / folder, "aa", [reason])
        note_run(tmp_path / folder, "run", {"name": reason})
        rebuild_catalogue(tmp_path / folder, {"ingest": "aa"}, {})
    for view, column in (("quarantine", "reason"), ("all_quarantine", "reason"), ("runs", "name")):
        assert query(tmp_path / "runs[1]", f"select {column} from {view}") == [("ours",)]
    (tmp_path / "runs[1]" / "ingest" / "aa" / "quarantine.parquet").unlink()
    with pytest.raises(
        UserError, match=r"shows .*/runs\[1\]/ingest/aa/quarantine\.parquet, which is not there any more"
    ):
        query_catalogue(tmp_path / "runs[1]", "select * from quarantine")


def test_runs_that_end_at_once_build_it_one_after_the_other(tmp_path: Path) -> None:
    """Threads have one process id, as the first processes of two containers have."""
    names = [f"a{i}" for i in range(8)]

    def end(name: str) -> None:
        add(tmp_path, name, ["x"])
        rebuild_catalogue(tmp_path, {}, {})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(end, names))
    assert query(tmp_path, "select artifact from all_quarantine order by 1") == [(name,) for name in names]
    assert not list(tmp_path.glob(".*.tmp*"))


def test_an_artifact_without_manifest_or_in_work_is_not_shown(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    add(tmp_path, "bb", ["y"])
    (tmp_path / "ingest" / "bb" / MANIFEST).unlink()
    add(tmp_path, "cc.partial", ["z"])
    rebuild_catalogue(tmp_path, {"ingest": "bb"}, {})
    assert query(tmp_path, "select * from all_quarantine") == [("aa", "x")]
    shown = query(tmp_path, "select view_name from duckdb_views() where not internal order by 1")
    assert shown == [("all_quarantine",), ("catalogue_root",)]


def test_runs_are_rows(tmp_path: Path) -> None:
    record = {"name": "demo", "started": "2026-11-24T00:00:00+00:00", "finished": None, "status": "failed"}
    first, second = new_run_id("demo"), new_run_id("demo")
    assert first < second
    note_run(tmp_path, first, record)
    note_run(tmp_path, second, record | {"status": "finished", "cached": ["ingest"], "config": {"name": "demo"}})
    note_run(tmp_path, first, record | {"error": "no such file"})
    rebuild_catalogue(tmp_path, {}, {})
    rows = query(tmp_path, "select run_id, status, cached, error, config->>'name' from runs")
    assert rows == [(second, "finished", ["ingest"], None, "demo"), (first, "failed", None, "no such file", None)]


def test_a_reader_that_stays_open_neither_blocks_nor_breaks(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    with duckdb.connect(str(tmp_path / CATALOGUE), read_only=True) as reader:
        add(tmp_path, "bb", ["y"])
        rebuild_catalogue(tmp_path, {"ingest": "bb"}, {})
        assert reader.execute("select * from quarantine").fetchall() == [("x",)]
    assert query(tmp_path, "select * from quarantine") == [("y",)]
    assert not list(tmp_path.glob(".*.tmp*"))


def test_a_catalogue_of_artifacts_that_were_deleted_says_so(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    (tmp_path / "ingest").rename(tmp_path / "elsewhere")
    for sql in ("select * from quarantine", "select count(*) from all_quarantine"):
        with pytest.raises(UserError, match=r"shows .*/ingest/aa/quarantine\.parquet, which is not there any more"):
            query_catalogue(tmp_path, sql)
    with pytest.raises(UserError, match=r'^query: IO Error: No files found .* "my\.csv" \(views: all_quar'):
        query_catalogue(tmp_path, "select * from 'my.csv'")


@pytest.mark.parametrize("name", ["there", "runs[1]", "it's"])
def test_a_copied_or_moved_store_is_asked_for_what_lies_there(tmp_path: Path, name: str) -> None:
    here, there = tmp_path / "here*", tmp_path / name
    add(here, "aa", ["x"])
    add(here, "bb", ["y"])
    note_run(here, "run", {"name": "ours"})
    rebuild_catalogue(here, {"ingest": "aa"}, {"quarantine": Columns("reason", latest="1 as one")})
    shutil.copytree(here, there)
    before = (there / CATALOGUE).read_bytes()
    for fingerprint, reasons in (("aa", ["copied"]), ("bb", [])):
        pq.write_table(
            pa.table({"reason": pa.array(reasons, pa.string())}), there / "ingest" / fingerprint / "quarantine.parquet"
        )

    def asked(root: Path) -> list[list[tuple[object, ...]]]:
        views = ("quarantine", "all_quarantine", "(select name from runs)")
        return [query_catalogue(root, f"select * from {view} order by all")[1] for view in views]

    expected: list[list[tuple[object, ...]]] = [[("copied", 1)], [("aa", "copied")], [("ours",)]]
    assert asked(there) == expected
    assert asked(here) == [[("x", 1)], [("aa", "x"), ("bb", "y")], [("ours",)]]
    shutil.rmtree(here)
    assert asked(there) == expected
    there.rename(tmp_path / "moved")
    assert asked(tmp_path / "moved") == expected
    with pytest.raises(UserError, match=r"^query: .* \(views: all_quarantine, quarantine, runs\)$"):
        query_catalogue(tmp_path / "moved", "select nothing from quarantine")
    assert (tmp_path / "moved" / CATALOGUE).read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == sorted(
        [".bdpo.duckdb.lock", CATALOGUE, "ingest", "runs"]
    )


def test_a_view_of_a_stage_without_an_artifact_says_why_it_is_not_there(tmp_path: Path) -> None:
    """Such as the scores after a training without a reference model alone."""
    add(tmp_path, "aa", ["x"])
    rebuild_catalogue(tmp_path, {"ingest": "bb"}, {})
    for view, stage in (("scored_pairs", "score"), ("Mi_Summary", "score"), ("judgements", "evaluate")):
        with pytest.raises(UserError) as refused:
            query_catalogue(tmp_path, f"select count(*) from {view}")
        assert str(refused.value) == (
            f"query: the latest run has no artifact of the stage {stage}, which {view} would show "
            "(views: all_quarantine)"
        )
    with pytest.raises(UserError, match="would show; all_quarantine shows those of other runs"):
        query_catalogue(tmp_path, "select * from quarantine")


@pytest.mark.parametrize("sql", ["", " ; ", "-- a note"])
def test_a_query_without_sql_is_a_sentence(tmp_path: Path, sql: str) -> None:
    rebuild_catalogue(tmp_path, {}, {})
    with pytest.raises(UserError, match=r"^query: there is no SQL in it"):
        query_catalogue(tmp_path, sql)


def test_a_damaged_catalogue_is_replaced(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    (tmp_path / CATALOGUE).write_text(json.dumps("not a database"))
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    assert query(tmp_path, "select * from quarantine") == [("x",)]


def test_a_full_disk_is_an_error_and_leaves_the_old_catalogue(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    again = "from bdpo.artifacts.catalogue import rebuild_catalogue\nrebuild_catalogue(Path(sys.argv[1]), {}, {})"
    ended = run_with_small_files(again, tmp_path, size=100_000)
    assert ended.stderr.rstrip().endswith("File too large"), ended.stderr
    assert query(tmp_path, "select * from quarantine") == [("x",)]
    assert not list(tmp_path.glob(".*.tmp*"))


def test_what_a_killed_session_left_is_not_read_into_the_next_catalogue(tmp_path: Path) -> None:
    add(tmp_path, "aa", ["x"])
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    session = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute('create table t (a int)'); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", session, str(tmp_path / CATALOGUE)], check=False)
    log = tmp_path / f"{CATALOGUE}.wal"
    assert log.exists()
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {})
    assert query_catalogue(tmp_path, "select * from quarantine") == (["reason"], [("x",)])
    assert query(tmp_path, "select table_name from duckdb_tables()") == []
    assert not log.exists()


def test_what_is_damaged_is_left_out_and_hides_nothing_else(tmp_path: Path) -> None:
    for name in ("aa", "bb", "cc"):
        add(tmp_path, name, [name])
    (cut, renamed) = (tmp_path / "ingest" / name / "quarantine.parquet" for name in ("aa", "cc"))
    cut.write_bytes(cut.read_bytes()[:-5])
    renamed.write_bytes(renamed.read_bytes().replace(b"reason", b"rea3on"))
    note_run(tmp_path, "first", {"name": "demo"})
    (tmp_path / "runs" / "second.json").write_text('{"name": "demo"')
    rebuild_catalogue(tmp_path, {"ingest": "aa"}, {"quarantine": Columns("reason")})
    assert query(tmp_path, "select * from all_quarantine") == [("bb", "bb")]
    assert query(tmp_path, "select run_id from runs") == [("first",)]


def test_who_cannot_get_in_is_told_so_after_a_second(tmp_path: Path) -> None:
    path = tmp_path / CATALOGUE
    duckdb.connect(str(path)).close()
    writer = hold(path, 60)
    started = time.monotonic()
    with pytest.raises(UserError, match="another process has held this DuckDB file for 1 second; close it there"):
        query_catalogue(tmp_path, "select 1")
    assert time.monotonic() - started < 5
    writer.kill()
    writer.wait()
