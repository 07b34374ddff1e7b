"""Runs of one `bdpo up` take turns, and end with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bdpo.lifetime import start_ticks
from tests.paths import ROOT

_RUN = """
import sys, time
from flows.turn import turn
with turn(lambda line: print("waits", flush=True)):
    print("runs", flush=True)
    time.sleep(float(sys.argv[1]))
print("done", flush=True)
"""


def start(home: Path, seconds: float, above: subprocess.Popen[bytes] | None) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home)}
    if above is not None:
        environment["BDPO_UP"] = f"{above.pid}:{start_ticks(above.pid)}"
    command = [sys.executable, "-c", _RUN, str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def test_the_second_waits_for_the_first_and_both_end_with_what_is_above(tmp_path: Path) -> None:
    with subprocess.Popen(["/usr/bin/env", "sleep", "600"]) as above:
        first = start(tmp_path, 600, above)
        assert next(lines_of(first)) == "runs\n"
        second, alone = start(tmp_path, 600, above), start(tmp_path, 0, None)
        assert next(lines_of(second)) == "waits\n"
        assert alone.communicate()[0] == "runs\ndone\n", "no run of `bdpo up` waits for nobody"
        first.kill()
        assert next(lines_of(second)) == "runs\n"
        above.kill()
        above.wait()
        assert second.wait(timeout=60) == -signal.SIGKILL
        first.communicate()
        second.communicate()
