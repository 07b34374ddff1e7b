"""Running `bdpo` as a user does."""

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def environment_of(home: Path, server: str | None = None) -> dict[str, str]:
    """Prefect's own files lie in a folder of the test's, and no server is named but the test's."""
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("PREFECT_API_URL", None)
    return environment if server is None else environment | {"PREFECT_API_URL": server}


def bdpo(*arguments: object, home: Path, server: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a run without a server starts one for itself, which takes seconds."""
    command = [sys.executable, "-m", "bdpo.cli", *map(str, arguments)]
    environment = environment_of(home, server)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a user reads of a mistake: exactly one line, and a failing exit code."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]
