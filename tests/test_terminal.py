"""Progress for people: bars on a terminal, plain lines elsewhere."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from bdpo.terminal import TerminalProgress, plain_console


def shown(*, terminal: bool, task: str = "score") -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=160, color_system=None)
    with TerminalProgress(console).shown() as progress:
        progress.say(f"{task}: computing, because never computed")
        progress.begin(task, 8, "sequences", done=2)
        progress.advance(3, loss=0.69315)
        progress.advance(3)
    return out.getvalue()


def test_a_terminal_gets_a_bar_with_rate_and_figures() -> None:
    text = shown(terminal=True)
    assert "8/8" in text
    assert "sequences/s" in text
    assert "0:00:00" in text


def test_a_log_gets_one_line_a_task() -> None:
    assert shown(terminal=False).split("\n") == [
        "score: computing, because never computed",
        "score: 6 of 8 sequences to do",
        "",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(terminal: bool) -> None:
    assert "[/red] :smile:" in shown(terminal=terminal, task="[/red] :smile:")


def test_a_long_line_of_a_log_stays_one_line() -> None:
    assert shown(terminal=False, task="word " * 60).count("\n") == 2


def test_a_table_shows_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name [/red]")
    table.add_row("[bold]:smile:[/]")
    plain_console().print(table)
    printed = capsys.readouterr().out
    assert "name [/red]" in printed
    assert "[bold]:smile:[/]" in printed


def test_escape_sequences_of_a_completion_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as one that renames the window, clears the screen or turns the direction of reading."""
    table = Table("name \x9b31m")
    table.add_row("a\x1b]0;owned\x07b\u202ec\r\nd\te")
    plain_console().print(table)
    plain_console().print("\x1b[2J")
    printed = capsys.readouterr().out
    assert r"name \x9b31m" in printed
    assert r"a\x1b]0;owned\x07b\u202ec" in printed
    assert "\\x1b[2J\n" in printed
    assert not set(printed) & set("\x1b\x07\x9b\u202e\r")
