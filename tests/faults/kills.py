"""Processes that are ended: the run itself, or one that works for it."""

import signal
import time
from collections.abc import Callable

import psutil

from tests.faults.subject import PATIENCE_S, Run
from tests.faults.trial import Trial

_NAMES = {
    "ingest-worker": "bdpo.data.workers",
    "score-worker": "bdpo.scoring.worker",
    "launcher": "deepspeed.launcher.runner",
    "node-launcher": "deepspeed.launcher.launch",
    "train-worker": "bdpo.training.worker",
}


def kill(number: signal.Signals) -> Callable[[Trial], None]:
    """The fault that a signal is."""

    def strike(trial: Trial) -> None:
        target = trial.fault.target
        overrides = ("score.processes=2",) if target == "score-worker" else ()
        while True:
            run = trial.catch(*overrides)
            process = psutil.Process(run.pid) if target == "parent" else _find(run, _NAMES[target])
            if process is not None:
                break
            run.wait()  # it had ended before there was such a process; the next moment drawn is another
        run.note_children()
        process.send_signal(number)
        struck = time.monotonic()
        ended = run.wait()
        if target == "parent" and ended.means == "completed" and number is not signal.SIGINT:
            trial.report.moment += "; it ended by itself at that very moment"
            trial.carry_on()
            return
        trial.report.moment += f"; the run ended {time.monotonic() - struck:.1f} s later"
        allowed = ("killed",) if target == "parent" and number is not signal.SIGINT else ("completed", "sentence")
        if number is signal.SIGINT:
            allowed = ("interrupted",)
        trial.note(run, ended, allowed)
        trial.carry_on(*overrides)

    return strike


def _find(run: Run, name: str) -> psutil.Process | None:
    """The process of a run that has a name on its command line; None once the run has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not run.poll():
        assert time.monotonic() < deadline, f"no {name}"
        for child in run.note_children():
            try:
                command = " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            if "bdpo.lifetime" in command:
                continue  # the guard, which names what it guards
            others = [n for n in _NAMES.values() if n != name and n.startswith("deepspeed")]
            if name in command and (name.startswith("deepspeed") or not any(other in command for other in others)):
                return child
        time.sleep(0.002)
    return None
