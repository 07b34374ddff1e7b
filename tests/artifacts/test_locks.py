"""Locks between processes: one holds, many join, and nobody has to clean up after a kill."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from bdpo.artifacts.locks import hold, join, own_folder
from bdpo.errors import UserError
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


def test_both_are_given_by_nfs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a shared lock on a file that cannot be read, and an exclusive one where it cannot be written."""
    flock = fcntl.flock

    def as_nfs(file: Any, how: int) -> None:
        access = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if (how & fcntl.LOCK_SH and access == os.O_WRONLY) or (how & fcntl.LOCK_EX and access == os.O_RDONLY):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", as_nfs)
    for take in (join, hold):
        with take(tmp_path / "lock", lambda: pytest.fail("it waits")):
            pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
@pytest.mark.parametrize("take", [hold, join, lambda path, _: own_folder(path.parent)], ids=["hold", "join", "own"])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[..., AbstractContextManager[object]], number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    named = f"{tmp_path}: this file system gives no locks"
    with pytest.raises(UserError, match=named), take(tmp_path / "lock", lambda: None):
        pytest.fail("nobody may go on")


_OWN = """
import sys
from pathlib import Path
from bdpo.artifacts.locks import own_folder
with own_folder(Path(sys.argv[1])) as folder:
    (folder / "work").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_a_killed_process_left_is_removed_by_the_next(
    tmp_path: Path, started: list["subprocess.Popen[str]"]
) -> None:
    place = tmp_path / "cache" / "shares"
    for _ in range(2):
        command = [sys.executable, "-c", _OWN, str(place)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT))
    killed, working = started
    left, other = Path(next_line(killed)), Path(next_line(working))
    killed.kill()
    killed.wait()
    assert (left / "work").exists()
    with own_folder(place) as own:
        assert {folder for folder in place.iterdir() if folder.is_dir()} == {own, other}
        assert (other / "work").exists(), "its process lives"
    assert not own.exists()
    working.communicate()
    assert not other.exists()
