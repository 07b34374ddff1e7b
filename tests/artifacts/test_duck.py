"""Opening DuckDB: a busy file is retried, then reported."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdpo.artifacts.duck import connect, literal
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
    (tmp_path / "b").write_text("x" * 5000)
    with pytest.raises(UserError, match="cannot open this file"), connect(tmp_path / "b"):
        pass


def test_literal_doubles_quotes() -> None:
    assert literal("it's") == "'it''s'"


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
