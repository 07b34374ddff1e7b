"""Opening DuckDB: a busy file is retried, then reported."""

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.artifacts.duck import bounded, connect, exact_files, file_of, literal
from bdpo.errors import UserError

_HOLD = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep({seconds})"


def hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD.format(seconds=seconds), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_reader_gets_in_when_the_writer_leaves(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    writer = hold(path, 0.5)
    with connect(path, read_only=True, timeout_s=30) as connection:
        assert connection.execute("select 1").fetchall() == [(1,)]
    assert writer.wait() == 0


def test_a_file_that_stays_busy_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    writer = hold(path, 60)
    started = time.monotonic()
    busy = pytest.raises(UserError, match=r"x\.duckdb: another process has held this DuckDB file for 0\.3 seconds")
    with busy, connect(path, read_only=True, timeout_s=0.3):
        pass
    assert time.monotonic() - started < 10
    writer.kill()
    writer.wait()


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such DuckDB file"), connect(tmp_path / "a", read_only=True):
        pass
    path = tmp_path / "blocks" / "bdpo.duckdb"  # a folder with `lock` in its name makes it no busy file
    path.parent.mkdir()
    path.write_text("x" * 5000)
    with pytest.raises(UserError, match=r"cannot open this file: .* not a valid DuckDB"), connect(path, timeout_s=0):
        pass


def test_literal_doubles_quotes() -> None:
    assert literal("it's") == "'it''s'"


@pytest.mark.parametrize(("own", "memory_mib", "expected"), [(192, 1024, 8), (192, 512, 4), (2, 1024, 2), (4, 64, 1)])
def test_memory_bounds_the_threads(tmp_path: Path, own: int, memory_mib: int, expected: int) -> None:
    with connect(tmp_path / "x.duckdb") as connection:
        connection.execute(f"set threads = {own}")
        with bounded(connection, memory_mib=memory_mib, spill=tmp_path / "spill"):
            assert connection.execute("select current_setting('threads')").fetchall() == [(expected,)]


@pytest.mark.parametrize("is_read_in_batches", [False, True])
def test_too_little_memory_is_said_in_a_sentence(tmp_path: Path, is_read_in_batches: bool) -> None:
    said = pytest.raises(UserError, match=r"the 64 MiB that DuckDB may take here are too little .*; read fewer rows")
    with (
        connect(tmp_path / "x.duckdb") as connection,
        said,
        bounded(connection, memory_mib=64, spill=tmp_path / "spill"),
    ):
        found = connection.sql("select list(range) as one from range(20_000_000)")  # a list goes to no disk
        for _ in found.to_arrow_reader(1024) if is_read_in_batches else found.fetchall():
            pass


@pytest.mark.parametrize("name", ["runs[1]", "runs[[]1]", "run*", "runs?", "runs[!2]", "it's", "folder=x"])
def test_a_path_is_read_as_it_is_written(tmp_path: Path, name: str) -> None:
    """As patterns all but the last two are those of `runs1` too, and `folder=x` makes a column of itself."""
    for folder in ("runs1", name):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"folder": [folder]}), tmp_path / folder / "x.parquet")
    files = exact_files(tmp_path / name / "x.parquet")
    with duckdb.connect() as connection:
        assert connection.execute(f"select * from read_parquet({files})").fetchall() == [(name,)]


def test_a_pattern_tells_its_file() -> None:
    for path in (Path("/x/runs[1]/a*b?.parquet"), Path("/x/[[]]/[*]")):
        assert file_of(exact_files(path).removeprefix("['").partition("']")[0]) == str(path)


def test_ctrl_c_in_a_query_is_an_interruption(tmp_path: Path) -> None:
    program = """
import os, signal, sys, threading
from pathlib import Path
from bdpo.artifacts.duck import connect
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with connect(Path(sys.argv[1])) as connection:
        connection.execute("create table t as select range i, random() r from range(300000)")
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            connection.execute("select i % 100, sum(r), quantile_cont(r, 0.5) from t group by 1").fetchall()
except KeyboardInterrupt as interruption:
    print("interrupted, by way of", repr(interruption.__cause__))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.duckdb")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("interrupted")
