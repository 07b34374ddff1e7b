"""An interrupt that is swallowed ends a process all the same, and one that is ignored ends none."""

import signal
import subprocess
import sys

import pytest

from tests.paths import ROOT

_LOST = """
import signal, sys, time
from bdpo.interrupts import resend_lost_signals

class Ended(BaseException):
    pass

def end(number, frame):
    raise Ended

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, end)
resend_lost_signals({KeyboardInterrupt: signal.SIGINT, Ended: signal.SIGTERM})

class Thing:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))
        time.sleep(0)

def lose():
    Thing()
    print("lost", flush=True)
    time.sleep(60)

try:
    lose()
except (KeyboardInterrupt, Ended) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Ended")])
def test_a_signal_that_a_destructor_swallowed_comes_again(number: signal.Signals, raised: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LOST, str(int(number))], capture_output=True, text=True, check=False, timeout=50
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"lost\n{raised}\n", "")


_STAYS = """
import signal, sys, time
from bdpo.interrupts import limit_ending

limit_ending(1.0, 130, "ended\\n")
signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == "ignored" else signal.default_int_handler)
try:
    signal.raise_signal(signal.SIGINT)
except BaseException:
    print("swallowed", flush=True)
time.sleep(3 if sys.argv[1] == "ignored" else 60)
"""


@pytest.mark.parametrize("is_read", [True, False])
def test_what_does_not_end_by_an_interrupt_is_ended(is_read: bool) -> None:
    """Also where the interrupt has ended what reads its output, such as `tee`."""
    command = [sys.executable, "-c", _STAYS, "swallowed"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "swallowed\n"
        if is_read:
            assert process.stderr.read() == "ended\n"
        else:
            process.stderr.close()
        assert process.wait(timeout=50) == 130


def test_what_ignores_an_interrupt_is_not_ended() -> None:
    command = [sys.executable, "-c", _STAYS, "ignored"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
