"""The temporary Prefect server ends when its run does, and not before."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

from bdpo.errors import UserError
from flows.temporary import own_database, start_temporary_server
from tests.cli.command import environment_of
from tests.flows.origins import may_be_used_by
from tests.flows.status_server import serving

_RUN = """
import sys, time
from flows.temporary import start_temporary_server
start_temporary_server()
start_temporary_server()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    assert client.api_healthcheck() is None
try:
    print("ready", flush=True)
    time.sleep(300)
except KeyboardInterrupt:
    with get_client(sync_client=True) as client:
        print("still there" if client.api_healthcheck() is None else "gone", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [None, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_it_outlives_a_signal_to_the_group_and_never_its_run(home: Path, number: signal.Signals | None) -> None:
    """Ctrl-C first; then the run ends by itself, or by another signal."""
    environment = environment_of(home) | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-c", _RUN, "300" if number else "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, process_group=0) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        (server,) = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)
        assert run.stdout.readline() == "still there\n"
        if number is not None:
            assert server.is_running()
            os.killpg(run.pid, number)
        assert not run.stdout.read()
    deadline = time.monotonic() + 30
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server is left behind"
        time.sleep(0.1)


def test_another_runs_server_at_the_port_is_not_taken_for_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It came between the choice of the port and its taking, and it answers as a healthy one does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with serving(200) as foreign, temporary_settings({PREFECT_HOME: tmp_path}):
        ports = iter([foreign.server_address[1], free])
        monkeypatch.setattr(SubprocessASGIServer, "find_available_port", lambda _: next(ports))
        start_temporary_server()
        server = SubprocessASGIServer()
        assert (server.running, server.port) == (True, free)
        assert may_be_used_by("https://evil.example", server.api_url) is None
        assert may_be_used_by(f"http://localhost:{free}", server.api_url) == f"http://localhost:{free}"
        server.stop()


def test_each_host_has_a_database_of_its_own_in_a_home_that_hosts_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def on(host: str, kind: str = "nfs4") -> dict[str, str]:
        mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(shared), fstype=kind)]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        return own_database()

    name, shared = "PREFECT_SERVER_DATABASE_CONNECTION_URL", tmp_path.resolve()
    with temporary_settings({PREFECT_HOME: tmp_path}):
        for host, kind in (("node-1", "nfs4"), ("node-2", "fuse.sshfs")):
            assert on(host, kind) == {name: f"sqlite+aiosqlite:///{tmp_path}/temporary-{host}.db"}
        assert on("node-1", "xfs") == {}, "no other host has it, and `bdpo up` shows its runs"
        for own in ("sqlite+aiosqlite:////data/prefect.db", f"sqlite+aiosqlite:///{tmp_path}/prefect.db"):
            with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: own}):
                assert on("node-1") == {}, "the user's"


@pytest.mark.usefixtures("own_home")
def test_a_server_that_cannot_start_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="set PREFECT_HOME to another folder"):
        start_temporary_server()
    assert "unable to open database file" in capfd.readouterr().err, "what stands above"


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[None]:
    """Prefect's files are in a folder where its database cannot be."""
    (tmp_path / "prefect.db").mkdir()
    with temporary_settings({PREFECT_HOME: tmp_path}):
        yield
