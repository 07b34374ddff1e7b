"""Weights & Biases, the one place that imports it.

Account, project and mode are the user's own, in wandb's environment variables (`WANDB_API_KEY`,
`WANDB_PROJECT`, `WANDB_MODE=offline`).  Sent are metrics and settings: no console output, no code, no command line,
nothing of the machine.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

# wandb reports its own errors to its makers unless told not to, before it is imported.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from bdpo.errors import UserError, first_line
from bdpo.training.trackers import Reporting, metrics_of

_FIRST_VERSION = (0, 30)
"""Whose `login` can be told not to ask for a key."""
_FINISH_S = 60.0
"""Without a limit a run waits for a server that is away for as long as it is."""

if tuple(map(int, wandb.__version__.split(".")[:2])) < _FIRST_VERSION:
    raise UserError(
        f"train.report_to: wandb {wandb.__version__} is too old: `pip install 'wandb>=0.30'`, or take it out."
    )


class WandbRun:
    """A run there."""

    def __init__(self, run: Any, say: Callable[[str], None]) -> None:
        self._run = run
        # Of wandb's errors many have no common type, and the system's come where its process is gone.
        self._send = Reporting(say, failures=Exception, words=_no_longer)

    def __enter__(self) -> "WandbRun":
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Queue a row, which wandb sends from a process of its own; what fails there does not end the training."""
        self._send(lambda: self._run.log({"step": row["step"], **metrics_of(row)}))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send(lambda: self._run.finish(exit_code=0 if kind is None else 1))


def _no_longer(error: Exception) -> str:
    reason = first_line(error).rstrip(".")
    return (
        f"train: wandb no longer works and gets no more metrics: {reason}; `wandb sync` can send later what it has kept"
    )


def open_run(run: str, settings: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> WandbRun:
    """Begin a run; arguments and errors as `bdpo.training.trackers.open_trackers`."""
    try:
        quiet = wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            finish_timeout=_FINISH_S,
            finish_timeout_raises=True,
            # In the file of an offline run these stand whatever is disabled, and would be sent with it later.
            host="",
            program="bdpo",
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
    except (TypeError, ValueError) as error:
        # Those that begin with x_ may go with any version, and without one of them the machine would be reported on.
        raise UserError(
            f"train.report_to: wandb {wandb.__version__} does not know all settings that keep what it sends to metrics "
            "and settings: install another version, 0.30 or later."
        ) from error
    try:
        # Of the environment or of the file that `wandb offline` writes; then login says no whatever account there is,
        # as it does while the user's own run is open.
        mode = wandb.setup().settings.mode
        if mode == "online" and wandb.run is None and not wandb.login(prompt=False):
            raise UserError(
                "train.report_to: wandb knows no account here: set WANDB_API_KEY, run `wandb login`, or set "
                "WANDB_MODE=offline."
            )
        begun = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bdpo"),
            name=run,
            config=dict(settings),
            dir=os.environ.get("WANDB_DIR", str(folder)),
            settings=quiet,
        )
        # wandb's own count grows with every call; curves are drawn over optimizer steps.
        begun.define_metric("step", hidden=True)
        begun.define_metric("*", step_metric="step")
    except wandb.Error as error:
        raise UserError(f"train.report_to: wandb cannot begin a run: {first_line(error)}") from error
    return WandbRun(begun, say)
