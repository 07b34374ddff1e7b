"""Locks between processes: one holds, many join, and nobody has to clean up after a kill."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bdpo.artifacts.locks import hold, join
from tests.paths import ROOT

_HOLD = """
import sys, time
from pathlib import Path
from bdpo.artifacts import locks
with getattr(locks, sys.argv[2])(Path(sys.argv[1]), lambda: print("waiting", flush=True)):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(started: list["subprocess.Popen[str]"], path: Path, how: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _HOLD, str(path), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    started.append(process)
    return process


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_many_join_and_whoever_holds_waits_for_the_last(tmp_path: Path, started: list["subprocess.Popen[str]"]) -> None:
    lock = tmp_path / "lock"
    with ExitStack() as stack:
        stack.enter_context(join(lock, lambda: pytest.fail("it waits")))
        other = start(started, lock, "join")
        assert next_line(other) == "in"
        holder = start(started, lock, "hold")
        assert next_line(holder) == "waiting"
        other.kill()
        other.wait()
    assert next_line(holder) == "in", "freed by a kill and by an end"


def test_whoever_joins_waits_for_a_holder(tmp_path: Path, started: list["subprocess.Popen[str]"]) -> None:
    lock = tmp_path / "lock"
    with hold(lock, lambda: pytest.fail("it waits")):
        joiner = start(started, lock, "join")
        assert next_line(joiner) == "waiting"
    assert next_line(joiner) == "in"
