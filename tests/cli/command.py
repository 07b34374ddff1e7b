"""Running `bdpo` as a user does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def environment_of(home: Path) -> dict[str, str]:
    """Prefect's own files lie in a folder of the test's, and no server is named."""
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("PREFECT_API_URL", None)
    return environment


def bdpo(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "bdpo.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment_of(home), check=False, timeout=300)


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a user reads of a mistake: exactly one line, and a failing exit code."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]
