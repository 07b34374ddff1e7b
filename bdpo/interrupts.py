"""An interrupt that Python or a library would lose ends this process all the same."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping

_LATER_S = 0.05


def resend_lost_signals(raised_by: Mapping[type[BaseException], signal.Signals]) -> None:
    """Send this process a signal again whose exception Python dropped.

    What a signal's handler raises while a destructor or the callback of a weak reference runs is written to stderr
    and forgotten (`sys.unraisablehook`).  After a long call of a kernel such a callback is often the first Python
    code to run, so that this is no rare case.

    Args:
        raised_by: what the handler of which signal raises.
    """
    usual = sys.unraisablehook

    def look(lost: "sys.UnraisableHookArgs") -> None:
        number = raised_by.get(lost.exc_type)
        if number is None:
            usual(lost)
            return
        # From another thread and a little later, or it would be raised in the same place.
        again = threading.Timer(_LATER_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    sys.unraisablehook = look


def limit_ending(seconds: float, code: int, words: str) -> None:
    """Give this process so long to end after a SIGINT, and then end it as `kill -9` would.

    What SIGINT raises may be dropped by code that catches everything, and what is to end may wait for a server that is
    away, or for a lock that the exception left held.  To be called in the main thread; a SIGINT that this process
    ignores stays ignored.

    Args:
        seconds: how long ending may take.
        code: the exit code then.
        words: said on stderr then.
    """
    came, noted = os.pipe()
    os.set_blocking(noted, False)
    # Written to when the signal comes, whatever Python then does with it.
    signal.set_wakeup_fd(noted, warn_on_full_buffer=False)

    def watch() -> None:
        while signal.SIGINT not in os.read(came, 64):
            pass
        time.sleep(seconds)
        try:
            os.write(2, words.encode())  # stderr, whatever Python has in its place
        finally:
            os._exit(code)  # as where the interrupt has ended who reads it

    threading.Thread(target=watch, daemon=True, name="watch-ending").start()
