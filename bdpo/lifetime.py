"""Children that do not outlive the process that wants their work, however it ends."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

_PERIOD_S = 0.5
_PATIENCE_S = 30.0
_PR_SET_PDEATHSIG = 1
"""From Linux's <sys/prctl.h>."""
_OFFSPRING = "offspring-of"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_OWN_NUMBERS = Path("/proc/self/ns/pid")


def pid_place() -> str:
    """Where the process numbers that this process sees hold: in its container of this machine since that was booted.

    Two machines may have one host name, as may two containers.  What a system does not tell, as gVisor has no boot
    number, is left out.
    """
    boot = container = ""
    with suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    with suppress(OSError):
        container = str(_OWN_NUMBERS.readlink())
    return f"{socket.gethostname()} {boot} {container}"


def start_ticks(pid: int) -> int:
    """When a process started, in the system's clock ticks since it was booted.

    psutil gives the same as a time of day, which changes for one and the same process when the clock is set.

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The second field is the program's name in parentheses, and may hold anything; the 22nd is the start.
    return int(stat.rpartition(")")[2].split()[19])


def die_with(pid: int, started: int) -> None:
    """Kill this process as soon as another one is gone, watching from a thread.

    A launched training that went on without its parent would write into a
    workspace that the next run has taken over.  The launcher stands in between
    and passes no file descriptor on, so the parent is watched by number.  Who is
    started through `guarded` needs this only where a program of another session,
    such as ssh, stands in between.

    Args:
        pid: the process to watch.
        started: its `start_ticks`, by which it is told from a later process of that number.
    """
    _when_gone(pid, started, lambda: os.kill(os.getpid(), signal.SIGKILL))


def die_unread(output: int) -> None:
    """Kill this process as soon as nobody reads what it writes any more.

    Whoever wants the work of a process on another machine reads its output through ssh or the like.  When that ends,
    the process there gets no signal, and would notice when it next writes.

    Args:
        output: a file descriptor; if it is no pipe, socket or terminal, nothing is watched.
    """

    def watch() -> None:
        poll = select.poll()
        # What it is asked for matters not: that the other end is closed is always told.
        poll.register(output, 0)
        while not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll()):
            time.sleep(_PERIOD_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="watch-output").start()


def end_with_parent() -> None:
    """Have the kernel end this process (SIGTERM) when the thread that started it is gone, however that ends.

    For a child that stays one process: called in it before it becomes the program (`preexec_fn`).
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def guarded(command: Sequence[str]) -> list[str]:
    """A command line that runs another one, and ends all of its process group as soon as this process is gone.

    A program that watches over itself begins to when it has imported what it needs, which takes a training many
    seconds, and whatever starts it does not watch at all.  The guard is there from the beginning.

    Args:
        command: to be run; the guard ends as it ends, by the same code or signal.

    Returns:
        The guard's command line, to be started as the first of a process group (`start_new_session=True`).
    """
    own = os.getpid()
    return [sys.executable, "-m", "bdpo.lifetime", str(own), str(start_ticks(own)), *command]


def run_guarded(command: Sequence[str]) -> tuple[int, str]:
    """Run a command to its end; however this process ends before, nothing of it is left.

    Args:
        command: to be run; what it writes to stdout is dropped.

    Returns:
        Its exit code, and what it wrote to stderr.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            guarded(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    with child_groups([start]) as (child,):
        _, stderr = child.communicate()
    return child.returncode, stderr.decode(errors="replace")


@contextmanager
def no_orphans() -> Iterator[None]:
    """End what this process starts within the block, and what that starts, as soon as this process is gone.

    For processes that a library starts by itself, so that no guard stands before them.
    """
    own = os.getpid()
    command = [sys.executable, "-m", "bdpo.lifetime", _OFFSPRING, str(own), str(start_ticks(own))]
    watcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        watcher.kill()
        watcher.wait()


def _end_offspring_of(pid: int, started: int) -> None:
    """Wait until a process is gone, and kill what descended from it."""
    offspring: dict[int, int] = {}
    while _is_alive(pid, started):
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(pid).children(recursive=True):
                if child.pid != os.getpid():
                    with suppress(FileNotFoundError, ProcessLookupError):
                        offspring[child.pid] = start_ticks(child.pid)
        time.sleep(_PERIOD_S)
    for child_pid, child_started in offspring.items():
        if _is_alive(child_pid, child_started):
            with suppress(ProcessLookupError):
                os.kill(child_pid, signal.SIGKILL)


def main() -> None:
    """Guard a command: `python -m bdpo.lifetime PID START_TICKS COMMAND...`; or see to `no_orphans`."""
    if sys.argv[1] == _OFFSPRING:
        _end_offspring_of(int(sys.argv[2]), int(sys.argv[3]))
        return
    _when_gone(int(sys.argv[1]), int(sys.argv[2]), lambda: os.killpg(os.getpgrp(), signal.SIGKILL))
    code = subprocess.call(sys.argv[3:])
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _when_gone(pid: int, started: int, act: Callable[[], None]) -> None:
    def watch() -> None:
        while _is_alive(pid, started):
            time.sleep(_PERIOD_S)
        act()

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


@contextmanager
def child_groups(starts: Sequence[Callable[[], subprocess.Popen[bytes]]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Children of which, however the block ends, nothing is left: neither they nor what they started.

    Args:
        starts: each starts one child as the first of a process group of its own (`start_new_session=True`).
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        with _uninterrupted():
            # Interrupted between its start and its return, Popen would leave a child that nobody knows of.
            children.extend(start() for start in starts)
        yield children
    finally:
        with _uninterrupted():
            for child in children:
                kill_group(child.pid)
                child.wait()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back; what came meanwhile acts when the block ends.

    Python's handlers run in the main thread only, so no other thread has need of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            # One that is ignored or was not set from Python stays: children inherit that a signal is ignored.
            if handler not in (signal.SIG_IGN, None):
                # Before it is changed, for the other may act, and raise, as soon as it is.
                before[number] = handler
                signal.signal(number, note)
        yield
    finally:
        try:
            _set_handlers(before)
        finally:
            for noted in dict.fromkeys(came):
                signal.raise_signal(noted)


def _set_handlers(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set all of them, though one that is set may act, and raise, before the next one is.

    Blocking the signals meanwhile would not do: any other thread of the process takes them, for this one to act on.
    """
    left = list(handlers.items())
    raised: BaseException | None = None
    while left:
        try:
            while left:  # within, for a handler may act between two turns, too
                signal.signal(*left[-1])
                left.pop()
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


def kill_group(leader: int) -> None:
    """Kill every process of a group, and wait until they are gone.

    By group rather than by parentage: what a killed launcher started has no parent left that leads to it.

    Args:
        leader: the process that was started as the group's first (`process_group=0` or a new session);
            it may have ended.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while members := _members(leader):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {members} of the group {leader} do not end, though killed")
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _members(leader: int) -> list[int]:
    """Living processes of a group; a zombie has ended and only waits to be counted."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _is_alive(pid: int, started: int) -> bool:
    try:
        return start_ticks(pid) == started and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return False


if __name__ == "__main__":
    main()
