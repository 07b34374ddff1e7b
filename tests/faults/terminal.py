"""`bdpo run` as a terminal, `timeout`, systemd or SLURM end it: by a signal to all of its process group."""

import os
import signal
import time
from collections.abc import Callable

from tests.cli.command import environment_of
from tests.faults.servers import BDPO, start_command
from tests.faults.subject import Run
from tests.faults.trial import Trial

_ENDS_WITHIN_S = 30.0
"""Prefect's temporary server is told of it first; ended with the run, it was waited for in vain for minutes."""


def signalled(number: signal.Signals, *, whole_group: bool = True) -> Callable[[Trial], None]:
    """The fault that a signal to the group is, or to the run alone."""

    def strike(trial: Trial) -> None:
        trial.lay()
        changes = trial.random.randint(0, trial.scale.changes)
        run = _start(trial)
        trial.report.moment = f"after change {changes} of about {trial.scale.changes}"
        if not trial.wait_until(run, changes):
            trial.report.moment += "; it ended by itself before"
            trial.note(run, run.wait(), ("completed",))
            trial.carry_on()
            return
        run.note_children()
        (os.killpg if whole_group else os.kill)(run.pid, number)
        struck = time.monotonic()
        ended = run.wait()
        seconds = time.monotonic() - struck
        trial.report.moment += f"; the run ended {seconds:.1f} s later"
        if seconds > _ENDS_WITHIN_S:
            trial.report.problems.append(f"it took {seconds:.1f} s to end")
        trial.note(run, ended, ("completed", "interrupted" if number is signal.SIGINT else "killed"))
        trial.carry_on()

    return strike


def _start(trial: Trial) -> Run:
    """The command, with Prefect's own files shared by all trials: making its database takes long."""
    command = (*BDPO, "run", str(trial.config), "--only", trial.stages[0])
    return start_command(command, environment_of(trial.bases.parent / "prefect"), trial.folder)
