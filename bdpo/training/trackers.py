"""Experiment trackers that the user asked for; one module a tracker, imported only then."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from bdpo.config.train import TrackerName
from bdpo.packages import importing

_MODULES: dict[TrackerName, str] = {
    "wandb": "bdpo.training.wandb_tracker",
    "mlflow": "bdpo.training.mlflow_tracker",
}


class Tracker(Protocol):
    """A run in a tracker, open while the block runs; it ends as failed where the block raises."""

    def __enter__(self) -> Self: ...

    def write(self, row: dict[str, Any]) -> None:
        """Send a row of metrics."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Reporting:
    """Calls of a tracker until one fails: that ends the reporting, is said once, and does not end the training."""

    def __init__(
        self, say: Callable[[str], None], *, failures: type[Exception], words: Callable[[Exception], str]
    ) -> None:
        """Begin to report.

        Args:
            say: told of the first failure.
            failures: what such a call raises; whatever else it raises is a bug.
            words: what is said of it.
        """
        self._say = say
        self._failures = failures
        self._words = words
        self._works = True

    def __call__(self, call: Callable[[], None]) -> None:
        """Make a call, or none any more."""
        if not self._works:
            return
        try:
            call()
        except self._failures as error:
            self._works = False
            self._say(self._words(error))


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Raise before any work what would fail after it.

    Raises:
        UserError: a tracker's package is not installed, or too old.
    """
    for name in names:
        with importing("train.report_to", name):
            # Our own module of it, which tells MLflow what it reads when it is first imported.
            import_module(_MODULES[name])


def open_trackers(
    names: Sequence[TrackerName], *, run: str, settings: Mapping[str, Any], folder: Path, say: Callable[[str], None]
) -> list[Tracker]:
    """A new run in each tracker.

    A training that goes on from a checkpoint is a new run too, with that checkpoint's rows first: which rows
    reached a tracker before a kill is not known.

    Args:
        names: which trackers.
        run: name of the run there.
        settings: plain values, shown beside the run.
        folder: for what a tracker keeps on this machine.
        say: where to say that a tracker no longer answers.

    Raises:
        UserError: a tracker cannot begin a run.
    """
    return [import_module(_MODULES[name]).open_run(run, settings, folder, say) for name in names]


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """A row's metrics by the names that dashboards know: `train/loss`, `eval/loss`, `gap/rewards/margins`."""
    names = {name: name for name in row if name not in ("step", "split")}
    for name in names:
        if name.startswith("eval_"):
            names[name] = f"eval/{name.removeprefix('eval_')}"
        elif row["split"] == "train":
            names[name] = f"train/{name}"
    return {shown: float(row[name]) for name, shown in names.items()}
