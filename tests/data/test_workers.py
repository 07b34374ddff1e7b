"""Work in other processes: in order, with its errors, and gone with whoever started it."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from bdpo.config import ModelSettings
from bdpo.data.blocks import LineBlock
from bdpo.data.overlap import EvaluationPrompts
from bdpo.data.prepare import Preparer, Task
from bdpo.data.rows import RowProblem
from bdpo.data.sources import Shape
from bdpo.data.workers import Workers
from bdpo.errors import UserError
from tests.paths import ROOT


@dataclass
class Doubling:
    """Doubles numbers; anything else is refused, or ends the process."""

    slow: float = 0.0

    def start(self) -> Callable[[int], tuple[int, int]]:
        def double(number: int) -> tuple[int, int]:
            if number < -2:
                os.kill(os.getpid(), signal.SIGKILL)
            if number < -1:
                os._exit(7)
            if number < 0:
                raise UserError(f"{number} is below 0")
            time.sleep(self.slow * (number % 2))
            print("what is printed is no result")  # noqa: T201
            return 2 * number, os.getpid()

        return double


@dataclass
class Importing:
    """Prepares blocks, and says which of the slow libraries that took."""

    preparer: Preparer

    def start(self) -> Callable[[Task], tuple[int, set[str]]]:
        prepare = self.preparer.start()

        def prepared(task: Task) -> tuple[int, set[str]]:
            return prepare(task).facts.num_rows, {"datasets", "great_expectations", "torch"} & sys.modules.keys()

        return prepared


def test_results_come_in_order_from_all_processes() -> None:
    with Workers(Doubling(slow=0.02), 2) as workers:
        found = list(workers.map(range(40)))
        again = list(workers.map(iter([5])))
    assert [number for number, _ in found] == [2 * number for number in range(40)]
    assert len({process for _, process in found}) == 2
    assert os.getpid() not in {process for _, process in found}
    assert again[0][0] == 10
    assert not [child for child in psutil.Process().children() if child.pid in {process for _, process in found}]


def test_no_process_is_started_while_one_is_idle() -> None:
    with Workers(Doubling(), 8) as workers:
        assert len({process for _ in range(3) for _, process in workers.map([1])}) == 1


def test_an_error_comes_back_as_it_is_and_the_others_go_on() -> None:
    with Workers(Doubling(), 1) as workers:
        with pytest.raises(UserError, match="-1 is below 0"):
            list(workers.map([1, -1, 2]))
        assert next(iter(workers.map([3])))[0] == 6


def test_a_process_that_ends_is_an_error() -> None:
    with Workers(Doubling(), 1) as workers, pytest.raises(RuntimeError, match="ended with code 7"):
        list(workers.map([1, -2, 2]))


def test_a_process_that_is_killed_is_said_in_a_sentence() -> None:
    with Workers(Doubling(), 1) as workers, pytest.raises(UserError, match="was ended by SIGKILL, perhaps for want of"):
        list(workers.map([1, -3, 2]))


def test_why_a_row_is_refused_survives_the_way_to_another_process() -> None:
    problem = pickle.loads(pickle.dumps(RowProblem("blank_chosen", "`chosen` is blank")))  # noqa: S301
    assert (type(problem), problem.rule, problem.reason) == (RowProblem, "blank_chosen", "`chosen` is blank")
    assert str(problem) == "`chosen` is blank"


def test_rows_are_prepared_without_torch(tmp_path: Path) -> None:
    """It is hundreds of MiB in every process."""
    from tests.tiny import tiny_tokenizer  # this module is imported in the process, and that one needs torch

    model = ModelSettings(max_length=256, max_prompt_length=128)
    preparer = Preparer(tiny_tokenizer(), model, 0.1, 0, tmp_path, EvaluationPrompts([]), None)
    rows = b'{"prompt": "Q", "chosen": "yes it is", "rejected": "no"}\n{"prompt": "R", "chosen": "a", "rejected": "b"}'
    task = Task(0, Shape("preference", None), None, LineBlock("x.jsonl", 1, rows))
    with Workers(Importing(preparer), 1) as workers:
        assert list(workers.map([task])) == [(2, set())]


def test_processes_end_with_the_one_that_started_them() -> None:
    code = (
        "import sys, time\n"
        "from bdpo.data.workers import Workers\n"
        "from tests.data.test_workers import Doubling\n"
        "with Workers(Doubling(), 2) as workers:\n"
        "    for _, process in workers.map(range(99)): print(process, flush=True)\n"
        "    time.sleep(60)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert started.stdout is not None
    with started:
        processes = [psutil.Process(int(started.stdout.readline())) for _ in range(4)]
        started.send_signal(signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL
        gone, alive = psutil.wait_procs(set(processes), timeout=10)
        assert not alive
        assert gone
