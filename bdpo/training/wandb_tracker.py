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

import wandb

from bdpo.errors import UserError, first_line
from bdpo.training.trackers import metrics_of


class WandbRun:
    """A run there."""

    def __init__(self, run: Any) -> None:
        self._run = run
        # wandb's own count grows with every call; curves are drawn over optimizer steps.
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")

    def __enter__(self) -> "WandbRun":
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Queue a row; wandb sends it from a process of its own."""
        self._run.log({"step": row["step"], **metrics_of(row)})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)


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
            "and settings: install another version, 0.19 or later."
        ) from error
    try:
        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.login(prompt=False):
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
    except wandb.Error as error:
        raise UserError(f"train.report_to: wandb cannot begin a run: {first_line(error)}") from error
    return WandbRun(begun)
