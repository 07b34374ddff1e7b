"""Event files on a disk that takes no more; that TensorBoard reads them is tested on a training's."""

from pathlib import Path

from tests.small_files import run_with_small_files

_WRITE = """
from bdpo.training.event_file import EventFile

try:
    with EventFile(Path(sys.argv[1])) as events:
        for step in range(1, 100):
            last = step
            events.write({"step": step, "split": "train", "loss": 0.5})
except OSError as error:
    print(last, error.strerror)
"""


def test_a_full_disk_is_an_error_at_once_and_nothing_prints_it(tmp_path: Path) -> None:
    done = run_with_small_files(_WRITE, tmp_path, size=500)
    assert done.stderr == ""
    step, reason = done.stdout.split(maxsplit=1)
    assert reason == "File too large\n"
    assert 500 // 60 < int(step) <= 500 // 30, "a record of one metric has some forty bytes"
