"""What people see on a terminal: tables of others' texts, and bars with rate and time left; a line a task elsewhere."""

import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys in place of showing it, line breaks and tabs apart: commands, and turns of the direction."""


def visible(text: str) -> str:
    """Text of others, such as a completion, whose escape sequences are shown and not obeyed."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


class _Plain(Console):
    """Shows every text as it is."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


def plain_console() -> Console:
    """A console that prints what it is given: a name may look like rich's own markup, a completion like commands."""
    return _Plain(markup=False, emoji=False, highlight=False)


NARROWEST = 12
"""Characters that a column of texts has at least, its frame included: a table of narrower ones cannot be read."""


def text_table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    show_lines: bool = False,
    unbroken: Collection[str] = (),
) -> Table:
    """A table of which no text is cut off on a narrow terminal.

    Args:
        names: of the columns.
        rows: a text a column.
        title: over it.
        show_lines: between the rows.
        unbroken: columns whose lines stay whole; the table has to be known to fit.
    """
    table = Table(title=title, show_lines=show_lines)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in unbroken)
    for row in rows:
        table.add_row(*row)
    return table


def natural_width(console: Console, table: Table) -> int:
    """Characters that a table wants, so that no line in it is broken."""
    return console.measure(table, options=console.options.update(max_width=sys.maxsize)).maximum


class _Rate(TextColumn):
    """Pieces a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {task.fields['unit']}/s", style="cyan")


class TerminalProgress:
    """A `bdpo.progress.Progress` for people: bars on a terminal, plain lines in a log."""

    def __init__(self, console: Console) -> None:
        """Show on `console`; bars only where it is a terminal."""
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    @contextmanager
    def shown(self) -> Iterator["TerminalProgress"]:
        """Show bars while the block runs."""
        with self._bars:
            yield self

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        """Start a bar of `total` pieces, of which `done` were found finished."""
        self._task = self._bars.add_task(task, total=total, completed=done, unit=unit, figures="")
        if not self._console.is_terminal:
            self.say(f"{task}: {total - done} of {total} {unit} to do")

    def advance(self, pieces: int = 1, **figures: float) -> None:
        """Move the bar; `figures` stand beside it."""
        assert self._task is not None, "advance before begin"
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._bars.update(self._task, advance=pieces, figures=shown)

    def say(self, message: str) -> None:
        """Print a line above the bars; a log gets it unbroken."""
        whole = not self._console.is_terminal
        self._console.print(message, markup=False, emoji=False, highlight=False, soft_wrap=whole)
