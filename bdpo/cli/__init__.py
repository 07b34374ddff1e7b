"""The commands of `bdpo`."""

import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from bdpo.cli.comparison import ablate, compare
from bdpo.cli.models import attack, judge
from bdpo.cli.query import query
from bdpo.cli.run import plan, run, up
from bdpo.errors import UserError
from bdpo.interrupts import limit_ending, resend_lost_signals
from bdpo.terminal import visible

app = typer.Typer(
    help="Balanced DPO: preference rows to a safety-aligned model with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (run, plan, query, judge, attack, compare, ablate, up):
    app.command()(_command)


def main() -> None:
    """Entry point: one sentence and exit code 1 for a user's mistake."""
    resend_lost_signals({KeyboardInterrupt: signal.SIGINT})
    limit_ending(_ENDING_S, _INTERRUPTED, _interrupted())
    sys.exit(_guarded(app))


def _guarded(command: Callable[[], Any]) -> int | str | None:
    try:
        command()
    except UserError as error:
        sys.stderr.write(f"error: {visible(str(error))}\n")
        return 1
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            sys.stderr.write(_interrupted())
            # An interrupt that met code compiled from a string, as dataclasses' is, counts for CPython as unhandled
            # until more such code runs; `python -m bdpo.cli` would end by the signal in place of this exit code.
            exec("")  # noqa: S102
        return ended.code
    return 0


def _interrupted() -> str:
    forced = any(argument.startswith("--force") for argument in sys.argv)
    anew = ", but begins a forced stage anew" if forced else ""
    return f"Interrupted. What was finished is kept; the same command goes on from there{anew}.\n"


_ENDING_S = 30.0
"""How long a command may take to end after Ctrl-C; where nothing else runs it takes five seconds."""
_INTERRUPTED = 130
"""What typer makes of Ctrl-C: 128 and the number of SIGINT."""
