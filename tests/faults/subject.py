"""Runs under test: processes that do stages of a config as `bdpo run` does, and how they ended."""

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.fingerprints import Stage
from bdpo.interrupts import resend_lost_signals
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks

PATIENCE_S = 400.0
"""A busy machine starts processes slowly; only a failing fault waits so long."""
INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended."""
Means = Literal["completed", "sentence", "interrupted", "killed", "broken"]
_SENTENCE = re.compile(r"error: .+\n", re.MULTILINE)


class Ended(NamedTuple):
    """How a run ended."""

    means: Means
    """`sentence`: exit code 1 and one line for the user; `broken`: a traceback, or anything else."""
    said: str
    """What it wrote for the user, or the end of the traceback."""


class Run:
    """A running process; it leads a session of its own."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._status: int | None = None
        self._seen: dict[int, psutil.Process] = {}

    def poll(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    def wait(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Wait for its end."""
        deadline = time.monotonic() + timeout_s
        while not self.poll():
            if time.monotonic() > deadline:
                self.note_children()
                self.end()
                return Ended("broken", f"it had not ended after {timeout_s:g} seconds")
            time.sleep(0.01)
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        text = self.log.read_text(errors="replace")
        if code < 0:
            return Ended("killed", signal.Signals(-code).name)
        if "Traceback" in text:
            return Ended("broken", text.strip()[-1500:])
        if code == 0:
            return Ended("completed", "")
        if code == INTERRUPTED:
            return Ended("interrupted", "")
        sentences = _SENTENCE.findall(text)
        if code == 1 and len(sentences) == 1 and text.endswith(sentences[0]):
            return Ended("sentence", sentences[0].strip())
        return Ended("broken", f"exit code {code}: {text.strip()[-1000:]}")

    def end(self) -> None:
        """Kill it and all that it was seen to have started."""
        for process in (*self._seen.values(), *_processes(self.pid)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            self._status = os.waitpid(self.pid, 0)[1]

    def note_children(self) -> list[psutil.Process]:
        """Its living descendants; they are remembered."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children(recursive=True):
                self._seen.setdefault(child.pid, child)
        return [child for child in self._seen.values() if child.is_running()]

    def survivors(self, timeout_s: float) -> list[str]:
        """Which of the descendants that were noted still live after that time."""
        _, alive = psutil.wait_procs(list(self._seen.values()), timeout=timeout_s)
        commands = []
        for process in alive:
            # A zombie has ended too; whoever inherits it counts it when there is time.
            with suppress(psutil.NoSuchProcess):
                commands.append(" ".join(process.cmdline())[:200])
        return commands


def _processes(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid)]
    return []


def fork(work: Callable[[], None], log: Path) -> Run:
    """Do work in a process of its own, with the exit codes and the words of the command `bdpo`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Run(pid, log)
    code = 2
    try:
        os.setsid()
        # A campaign that a shell runs in the background ignores Ctrl-C, and its children would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resend_lost_signals({KeyboardInterrupt: signal.SIGINT})  # as the command does
        for place, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
            os.dup2(os.open(os.devnull if place == 0 else log, flags | (os.O_CREAT | os.O_APPEND) * (place > 0)), place)
        try:
            work()
            code = 0
        except UserError as error:
            sys.stderr.write(f"error: {error}\n")
            code = 1
        except KeyboardInterrupt:
            code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(config: Path, stages: Sequence[Stage], *overrides: str, name: str = "run") -> Run:
    """Start a run of some stages of a config; its log lies beside the config."""

    def work() -> None:
        do_stages(config, stages, overrides)

    return fork(work, config.parent / "logs" / f"{name}-{time.monotonic_ns()}.log")


def do_stages(config: Path, stages: Sequence[Stage], overrides: Sequence[str]) -> None:
    """Run stages in this process."""
    pipeline = Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())
    for stage in stages:
        pipeline.run_stage(stage)
