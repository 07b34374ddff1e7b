"""Children end with whoever wants their work, and with nobody else."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bdpo import lifetime
from bdpo.lifetime import _uninterrupted, child_groups, guarded, pid_place, run_guarded, start_ticks
from tests.paths import ROOT

_CHILD = """
import sys, time
from bdpo.lifetime import die_with
die_with(int(sys.argv[1]), int(sys.argv[2]))
print("watching", flush=True)
time.sleep(60)
"""


def test_a_start_is_counted_from_the_boot() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        seconds = start_ticks(process.pid) / os.sysconf("SC_CLK_TCK")
        assert before - 0.1 <= seconds <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_place_is_named_where_the_system_tells_little_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As gVisor, which has no boot number."""
    assert len(set(pid_place().split(" "))) == 3
    for told in ("_BOOT_ID", "_OWN_NUMBERS"):
        monkeypatch.setattr(lifetime, told, tmp_path / "missing")
    assert pid_place() == f"{socket.gethostname()}  "


@pytest.mark.parametrize("later", [False, True])
def test_a_child_ends_with_its_parent_or_where_the_number_is_another_ones(later: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    command = [sys.executable, "-c", _CHILD, str(parent.pid), str(start_ticks(parent.pid) - later)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, parent:
        assert child.stdout.readline() == "watching\n" or later
        if not later:
            time.sleep(0.2)
            assert child.poll() is None
            parent.kill()
            parent.wait()
        assert child.wait(timeout=20) == -9
        parent.kill()


_SLEEP = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]


class _InterruptedAtItsEnd:
    def __init__(self, child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
        self.pid = child.pid
        self._child = child
        self._number = number

    def wait(self) -> None:
        signal.raise_signal(self._number)
        self._child.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["start", "end"])
def test_an_interrupt_at_a_childs_start_or_end_leaves_nothing_running(number: signal.Signals, when: str) -> None:
    """The signal comes when the child is there and its number is known to nobody yet, or while it is being ended."""
    started: list[psutil.Process] = []

    def start() -> Any:
        child = subprocess.Popen(_SLEEP, start_new_session=True)
        started.append(psutil.Process(child.pid))
        if when == "start":
            signal.raise_signal(number)
        return _InterruptedAtItsEnd(child, number)

    def act(number: int, _frame: object) -> None:
        raise InterruptedError(number)

    before = signal.signal(number, act)
    try:
        with pytest.raises(InterruptedError), child_groups([start, start]):
            assert when == "end"
    finally:
        assert signal.signal(number, before) is act
    assert len(started) == 2
    assert not psutil.wait_procs(started, timeout=0)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", range(4))
def test_whenever_an_interrupt_comes_both_have_their_handlers_again(
    number: signal.Signals, when: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right behind each of the four changes of a handler, and by another thread, which no mask of this one stops."""
    changes = iter(range(4))
    change = signal.signal

    def interrupt() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])  # a thread begins with its creator's mask
        signal.raise_signal(number)

    def changed(changed_number: Any, handler: Any) -> Any:
        before = change(changed_number, handler)
        if next(changes, None) == when:
            thread = threading.Thread(target=interrupt)
            thread.start()
            thread.join()
        return before

    def act(number: int, _frame: object) -> None:
        raise InterruptedError(number)

    before = {each: change(each, act) for each in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(signal, "signal", changed)
    try:
        with pytest.raises(InterruptedError), _uninterrupted():
            pass
    finally:
        monkeypatch.undo()
        assert [signal.signal(each, handler) for each, handler in before.items()] == [act, act]


def test_an_interrupt_is_not_lost_where_a_child_does_not_start() -> None:
    def start() -> Any:
        signal.raise_signal(signal.SIGTERM)
        raise FileNotFoundError

    def act(number: int, _frame: object) -> None:
        raise InterruptedError(number)

    before = signal.signal(signal.SIGTERM, act)
    try:
        with pytest.raises(InterruptedError), child_groups([start]):
            pytest.fail("it has not started")
    finally:
        assert signal.signal(signal.SIGTERM, before) is act


def test_a_childs_end_takes_all_that_it_started() -> None:
    with child_groups([lambda: subprocess.Popen(_SLEEP, start_new_session=True)]) as (child,):
        leader = psutil.Process(child.pid)
        deadline = time.monotonic() + 60
        while not (below := leader.children()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.kill()
    assert not leader.is_running()
    # Whoever inherits an orphan may leave it a zombie for a while.
    assert all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in below)


def test_an_ignored_interrupt_stays_ignored_in_a_child() -> None:
    """As `nohup` and shells in the background have it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)"
        with child_groups([lambda: subprocess.Popen([sys.executable, "-c", code], start_new_session=True)]) as (child,):
            assert child.wait(timeout=60) == 0
    finally:
        signal.signal(signal.SIGINT, before)


_PARENT = """
import subprocess, sys, time
from bdpo.lifetime import child_groups, guarded
command = guarded([sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"])
with child_groups([lambda: subprocess.Popen(command, start_new_session=True)]) as (child,):
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_guarded_child_that_watches_nothing_ends_with_its_killed_parent() -> None:
    """As a training does while it still imports, and a launcher always."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        guard = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + 60
        while len(below := guard.children(recursive=True)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.kill()
    gone, alive = psutil.wait_procs([guard, *below], timeout=20)
    assert len(gone) == 3, alive


_RUNS = """
import sys
from bdpo.lifetime import run_guarded
run_guarded(["/bin/sh", "-c", 'sleep 60 & echo $$ $! > "$0"; wait', sys.argv[1]])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_ends_with_who_runs_it(tmp_path: Path, number: signal.Signals) -> None:
    """As lm-eval does, which would go on for hours with a GPU."""
    command = [sys.executable, "-c", _RUNS, str(tmp_path / "pids")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pids").exists() or len(pids := (tmp_path / "pids").read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        processes = [psutil.Process(int(pid)) for pid in pids]
        parent.send_signal(number)
    gone, alive = psutil.wait_procs(processes, timeout=20)
    assert len(gone) == 2, alive


def test_a_command_that_is_run_says_how_it_ended() -> None:
    script = "import os, sys; print('a' * 1_000_000); os.write(2, b'b\\xff'); sys.exit(3)"
    assert run_guarded([sys.executable, "-c", script]) == (3, "b\N{REPLACEMENT CHARACTER}")


_STARTS_BY_ITSELF = """
import subprocess, sys, time
from types import SimpleNamespace
from pathlib import Path

class Engine:
    def __init__(self, **_):
        command = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
        self.core = subprocess.Popen(command)  # as vLLM's engine is, which outlives who started it

    def generate(self, *_, **__):
        print(self.core.pid, flush=True)
        time.sleep(float(sys.argv[1]))
        self.core.kill(), self.core.wait()
        return [SimpleNamespace(outputs=[SimpleNamespace(text="a", token_ids=[1])])]

sys.modules["vllm"] = SimpleNamespace(LLM=Engine, SamplingParams=dict)
from bdpo.evaluation.vllm_engine import vllm_completions
done = vllm_completions(Path("m"), {"k": (3,)}, dtype="bfloat16", ends=(2,), max_new_tokens=4, batch_size=2)
print(list(done), flush=True)
import psutil
print(psutil.Process().children(), flush=True)
"""


def test_what_a_library_starts_ends_with_its_killed_user() -> None:
    command = [sys.executable, "-c", _STARTS_BY_ITSELF, "60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        core = psutil.Process(int(user.stdout.readline()))
        deadline = time.monotonic() + 60
        while not (below := core.children()) or len(psutil.Process(user.pid).children()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(2)  # as a watcher needs to have seen them; it begins before the library does
        watcher = [child for child in psutil.Process(user.pid).children() if child.pid != core.pid]
        user.kill()
    gone, alive = psutil.wait_procs([core, *below, *watcher], timeout=20)
    assert len(gone) == 3, alive


def test_a_watcher_ends_with_the_block() -> None:
    command = [sys.executable, "-c", _STARTS_BY_ITSELF, "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_a_guard_ends_as_what_it_guards(script: str, code: int) -> None:
    assert subprocess.run(guarded(["/bin/sh", "-c", script]), cwd=ROOT, check=False).returncode == code


_UNREAD = """
import sys, time
from bdpo.lifetime import die_unread
die_unread(sys.stderr.fileno())
print("watching", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_child_that_writes_nothing_ends_when_nobody_reads_it_any_more(kind: str) -> None:
    """As behind ssh, which has no signal for it: its server holds the other end, of a pipe or of a socket."""
    reader, writer = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    command = [sys.executable, "-c", _UNREAD, "60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, text=True) as child:
        os.close(writer)
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        time.sleep(0.2)
        assert child.poll() is None
        os.close(reader)
        assert child.wait(timeout=20) == -9


def test_a_child_that_writes_to_a_file_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", _UNREAD, "1"], cwd=ROOT, stderr=log, check=True)
