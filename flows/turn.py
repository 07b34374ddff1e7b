"""What a run owes to the `bdpo up` that it works for: it ends with it, and waits until the run before it has ended.

Prefect starts each run as a session of its own, which outlives a killed worker and would train on unseen.  And a
work pool's limit counts the runs that are pending or running, but not those being cancelled: the moment somebody
presses the button, the next run may start, while the first has up to half a minute to end.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_HOME

from bdpo.artifacts.locks import hold
from bdpo.lifetime import die_with, start_ticks

_VARIABLE = "BDPO_UP"
"""Environment variable of runs: process id and start of the `bdpo up` above them."""


def by_this_process() -> dict[str, str]:
    """What to add to a worker's environment, so that its runs work for this process."""
    return {_VARIABLE: f"{os.getpid()}:{start_ticks(os.getpid())}"}


@contextmanager
def turn(say: Callable[[str], None]) -> Iterator[None]:
    """Hold the one place that runs of `bdpo up` have on this machine; any other run goes straight on.

    Args:
        say: told if another run still has the place.
    """
    above = os.environ.get(_VARIABLE)
    if above is None:
        yield
        return
    pid, started = map(int, above.split(":"))
    die_with(pid, started)
    with hold(PREFECT_HOME.value() / "bdpo-run.lock", lambda: say("the run before this one is still ending; waiting")):
        yield
