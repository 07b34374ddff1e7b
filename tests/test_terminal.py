"""Progress for people: bars on a terminal, plain lines elsewhere."""

import io

from rich.console import Console

from bdpo.terminal import TerminalProgress


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=160, color_system=None)
    with TerminalProgress(console).shown() as progress:
        progress.say("score: computing, because never computed")
        progress.begin("score", 8, "sequences", done=2)
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
