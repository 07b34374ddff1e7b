"""Progress in the Prefect UI: log lines, and a progress artifact a stage."""

import time
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from bdpo.progress import Progress
from flows.delivery import Delivery

_PERIOD_S = 2.0


class PrefectProgress:
    """A `bdpo.progress.Progress` inside a task run."""

    def __init__(self, stage: str, deliver: Delivery) -> None:
        """For the task run of `stage`, which must be the current one."""
        self._stage = stage
        self._deliver = deliver
        self._log = get_run_logger()
        self._artifact: UUID | None = None
        self._total = self._done = self._found = 0
        self._unit = ""
        self._begun = self._shown = 0.0

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        """Start a task of `total` pieces, of which `done` were found finished."""
        self._total, self._done, self._found, self._unit = total, done, done, unit
        self._begun = self._shown = time.monotonic()
        if self._artifact is None:
            self._artifact = self._deliver(self._create)
        self._log.info("%s: %d of %d %s to do", task, total - done, total, unit)

    def advance(self, pieces: int = 1, **figures: float) -> None:
        """Report finished pieces, at most every two seconds."""
        self._done += pieces
        now = time.monotonic()
        if now - self._shown >= _PERIOD_S:
            self._shown = now
            self._update(self._percent())
            rate = (self._done - self._found) / max(now - self._begun, 1e-9)
            shown = "".join(f", {name} {value:.4g}" for name, value in figures.items())
            self._log.info("%d of %d %s, %.3g a second%s", self._done, self._total, self._unit, rate, shown)

    def say(self, message: str) -> None:
        """Log a line."""
        self._log.info("%s", message)

    def finish(self) -> None:
        """Show the stage's work as done."""
        self._update(100.0)

    def _create(self) -> UUID:
        artifact = create_progress_artifact(self._percent(), key=f"bdpo-{self._stage}-progress")
        assert isinstance(artifact, UUID), "outside of an event loop an artifact is created at once"
        return artifact

    def _update(self, percent: float) -> None:
        artifact = self._artifact
        if artifact is not None:
            self._deliver(lambda: update_progress_artifact(artifact, percent))

    def _percent(self) -> float:
        return 100.0 * min(self._done / self._total, 1.0) if self._total else 100.0


class _Both:
    def __init__(self, first: Progress, second: Progress) -> None:
        self._places = (first, second)

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        for place in self._places:
            place.begin(task, total, unit, done)

    def advance(self, pieces: int = 1, **figures: float) -> None:
        for place in self._places:
            place.advance(pieces, **figures)

    def say(self, message: str) -> None:
        for place in self._places:
            place.say(message)


def both(first: Progress, second: Progress | None) -> Progress:
    """One Progress that reports to two, or to the first alone."""
    return first if second is None else _Both(first, second)
