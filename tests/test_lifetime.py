"""Children end with whoever wants their work, and with nobody else."""

import os
import subprocess
import sys
import time

import pytest

from bdpo.lifetime import start_ticks
from tests.paths import ROOT

_CHILD = """
import sys, time
from bdpo.lifetime import die_with
die_with(int(sys.argv[1]), int(sys.argv[2]))
print("watching", flush=True)
time.sleep(60)
"""


def test_a_start_is_counted_from_the_boot() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        seconds = start_ticks(process.pid) / os.sysconf("SC_CLK_TCK")
        assert before - 0.1 <= seconds <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("later", [False, True])
def test_a_child_ends_with_its_parent_or_where_the_number_is_another_ones(later: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    command = [sys.executable, "-c", _CHILD, str(parent.pid), str(start_ticks(parent.pid) - later)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, parent:
        assert child.stdout.readline() == "watching\n" or later
        if not later:
            time.sleep(0.2)
            assert child.poll() is None
            parent.kill()
            parent.wait()
        assert child.wait(timeout=20) == -9
        parent.kill()
