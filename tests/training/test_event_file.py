"""Event files on a disk that takes no more; that TensorBoard reads them is tested on a training's."""

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

_WRITE = """
import resource, signal, sys
from pathlib import Path
from bdpo.training.event_file import EventFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the system refuses the write
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    with EventFile(Path(sys.argv[1])) as events:
        for step in range(1, 100):
            last = step
            events.write({"step": step, "split": "train", "loss": 0.5})
except OSError as error:
    print(last, error.strerror)
"""


def test_a_full_disk_is_an_error_at_once_and_nothing_prints_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITE, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    step, reason = done.stdout.split(maxsplit=1)
    assert reason == "File too large\n"
    assert 500 // 60 < int(step) <= 500 // 30, "a record of one metric has some forty bytes"
