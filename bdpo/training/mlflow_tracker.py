"""MLflow, the one place that imports it.

Server and experiment are the user's own, in MLflow's environment variables (`MLFLOW_TRACKING_URI`,
`MLFLOW_EXPERIMENT_NAME`).  Sent are metrics and settings.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

# MLflow reports its use to its makers unless told not to, before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from bdpo.errors import UserError, first_line
from bdpo.training.trackers import Reporting, metrics_of


class MlflowRun:
    """A run there."""

    def __init__(self, client: MlflowClient, run_id: str, say: Callable[[str], None]) -> None:
        self._client = client
        self._id = run_id
        self._send = Reporting(say, failures=MlflowException, words=_no_longer)

    def __enter__(self) -> "MlflowRun":
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Send a row; a server that no longer answers ends the reporting and not the training."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, row["step"]) for name, value in metrics_of(row).items()]
        self._send(lambda: self._client.log_batch(self._id, metrics=metrics))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send(lambda: self._client.set_terminated(self._id, "FINISHED" if kind is None else "FAILED"))


def _no_longer(error: Exception) -> str:
    return f"train: mlflow no longer answers and gets no more metrics: {first_line(error)}"


def open_run(run: str, settings: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> MlflowRun:
    """Begin a run; arguments and errors as `bdpo.training.trackers.open_trackers`."""
    try:
        client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "bdpo")
        experiment = client.get_experiment_by_name(name)
        experiment_id = client.create_experiment(name) if experiment is None else experiment.experiment_id
        run_id = client.create_run(experiment_id, run_name=run).info.run_id
        client.log_batch(run_id, params=[Param(field, str(value)) for field, value in settings.items()])
    except MlflowException as error:
        raise UserError(f"train.report_to: mlflow cannot begin a run: {first_line(error)}") from error
    return MlflowRun(client, run_id, say)
