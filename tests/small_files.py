"""A process whose files may not grow beyond a size, which the system refuses as it does on a full disk."""

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

_LIMIT = """
import resource, signal, sys
from pathlib import Path

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the system refuses the write
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
"""


def run_with_small_files(program: str, folder: Path, *, size: int) -> subprocess.CompletedProcess[str]:
    """Run a program that has `sys` and `Path` and whose first argument is a folder; files have `size` bytes at most."""
    return subprocess.run(
        [sys.executable, "-c", _LIMIT.format(size=size) + program, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
