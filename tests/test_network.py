"""What a run tries to reach: nothing but this machine, unless the user asks for telemetry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.tiny_run import tiny_run

_RECORDER = '''
"""Loaded by every Python process of the run: notes whom it asks for, and lets nothing out."""

import os
import socket

_OWN = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None}


def _refuse(host):
    if isinstance(host, bytes):
        host = host.decode()
    if host not in _OWN and host != socket.gethostname():
        with open(os.environ["ASKED_FOR"], "a") as file:
            file.write(f"{host}\\n")
        raise OSError(f"no way out to {host}")


_lookup, _connect = socket.getaddrinfo, socket.socket.connect


def getaddrinfo(host, *arguments, **options):
    _refuse(host)
    return _lookup(host, *arguments, **options)


def connect(self, address):
    if isinstance(address, tuple):
        _refuse(address[0])
    return _connect(self, address)


socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect
'''


def hosts_asked_for(folder: Path, **environment: str) -> set[str]:
    """Names and addresses beyond this machine that the processes of a run wanted."""
    config = tiny_run(folder, num_pairs=8)
    (folder / "recorder").mkdir()
    (folder / "recorder" / "sitecustomize.py").write_text(_RECORDER)
    asked = folder / "asked"
    asked.touch()
    known = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "DO_NOT_TRACK")}
    known |= {
        "ASKED_FOR": str(asked),
        "PREFECT_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(folder / "recorder"), str(ROOT)]),
    }
    command = [sys.executable, "-m", "bdpo.cli", "run", str(config), "--only", "ingest"]
    done = subprocess.run(command, env=known | environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    return set(asked.read_text().split())


@pytest.mark.slow
def test_a_run_reaches_nobody(tmp_path: Path) -> None:
    assert hosts_asked_for(tmp_path) == set()


@pytest.mark.slow
def test_telemetry_that_is_asked_for_would_have_been_seen(tmp_path: Path) -> None:
    wanted = hosts_asked_for(tmp_path, PREFECT_SERVER_ANALYTICS_ENABLED="true", DO_NOT_TRACK="0")
    assert any(host.endswith("prefect.io") for host in wanted)
