"""Work handed to processes of our own, and taken back in order.

Each process reads tasks from its standard input and ends with it: also when
whoever started it is killed.  It imports nothing but what the work needs, so it
can be used from a script that guards no `__main__`.
"""

import gc
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, Protocol, Self

from bdpo.errors import UserError

_WAITING = 2
"""Tasks that are read ahead of those that are worked on."""


class Work(Protocol):
    """Something that can be sent to another process and does the work there."""

    def start(self) -> Callable[[Any], Any]:
        """What turns a task into its result."""


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that do the same work, each started when there is a task and none of the others is idle."""

    def __init__(self, work: Work, num: int) -> None:
        """Start none yet.

        Args:
            work: is pickled.
            num: how many there may be.
        """
        self._num = num
        self._work = pickle.dumps(work)
        self._processes: list[_Process] = []
        self._idle: list[_Process] = []
        """The one that was busy last comes last, and is the next."""
        self._open = ExitStack()
        self._open.callback(self._end)
        self._threads = self._open.enter_context(ThreadPoolExecutor(num))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._open.close()

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """The results of tasks, in their order; a few more tasks are taken than results were given.

        Raises:
            Exception: what a task raised.
            RuntimeError: a process ended.
        """
        waiting: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                waiting.append(self._threads.submit(self._do, task))
                if len(waiting) >= self._num + _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _do(self, task: Any) -> Any:
        try:
            process = self._idle.pop()
        except IndexError:  # of as many threads as there may be processes this one has none
            process = _Process(self._work)
            self._processes.append(process)
        try:
            return process.do(task)
        finally:
            self._idle.append(process)

    def _end(self) -> None:
        for process in self._processes:
            process.end()


class _Process:
    def __init__(self, work: bytes) -> None:
        self._work: bytes | None = work
        code = f"import sys; sys.path[:] = {sys.path!r}; from bdpo.data.workers import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=2**20
        )

    def do(self, task: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if self._work is not None:
                self._process.stdin.write(self._work)
                self._work = None
            pickle.dump(task, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            is_error, result = pickle.load(self._process.stdout)  # noqa: S301 - of our own process
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            if code in (-signal.SIGKILL, -signal.SIGTERM):
                raise UserError(
                    f"A process that checks rows was ended by {signal.Signals(-code).name}, perhaps for want of "
                    "memory; free some, then run the same command again."
                ) from error
            raise RuntimeError(f"a process that checks rows ended with code {code}") from error
        if is_error:
            raise result
        return result

    def end(self) -> None:
        self._process.kill()
        with suppress(BrokenPipeError), self._process:
            pass  # closes its pipes and waits


def serve() -> None:
    """Do what comes from the standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this process, and then ends it too
    tasks = sys.stdin.buffer
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no result
    work: Work = pickle.load(tasks)  # noqa: S301 - of our own process
    do = work.start()
    gc.freeze()  # what was imported stays: do not look through it again and again
    while True:
        try:
            task = pickle.load(tasks)  # noqa: S301
        except EOFError:
            return
        try:
            answer = (False, do(task))
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = (True, error)
        pickle.dump(answer, results, protocol=pickle.HIGHEST_PROTOCOL)
        results.flush()
