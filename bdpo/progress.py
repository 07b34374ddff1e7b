"""How a stage tells its surroundings what it is doing, without knowing them."""

from typing import Protocol


class Progress(Protocol):
    """What a stage reports to.  Entry points decide where it is shown."""

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        """Start a task of `total` pieces, of which `done` were found finished."""

    def advance(self, pieces: int = 1, **figures: float) -> None:
        """Report finished pieces of the current task; `figures` are shown beside the bar."""

    def say(self, message: str) -> None:
        """Report one line worth keeping in a log."""


class Silent:
    """A Progress that shows nothing: notebooks, tests, child ranks."""

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        """Ignore the start of a task."""

    def advance(self, pieces: int = 1, **figures: float) -> None:
        """Ignore finished pieces."""

    def say(self, message: str) -> None:
        """Ignore a line."""
