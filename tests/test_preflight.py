"""What `make setup` looks for before it installs anything."""

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def missing(folder: Path, **programs: str) -> list[str]:
    """What the script names as missing in a folder, where programs print what is given here."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    for name, said in programs.items():
        (stubs / name).write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
        (stubs / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROOT / ".ci" / "preflight.sh", sys.executable],
        cwd=folder,
        env=os.environ | {"PATH": os.pathsep.join([str(stubs), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        check=False,
    )
    named = [line.removeprefix("  - ") for line in done.stderr.splitlines() if line.startswith("  - ")]
    assert done.returncode == (1 if named else 0)
    return named


def test_another_system_is_named(tmp_path: Path) -> None:
    assert missing(tmp_path, uname="Darwin") == ["Linux (this is Darwin)", *missing(tmp_path, uname="Linux")]


def test_a_full_disk_is_named_unless_everything_is_there_already(tmp_path: Path) -> None:
    disk = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 99999999 97902847 2097152 98% /"
    full = "6 GiB of free disk here, and 15 for torch with CUDA (there are 2)"
    assert full in missing(tmp_path, df=disk)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".setup-done").touch()
    assert full not in missing(tmp_path, df=disk)
