"""`bdpo up`: a Prefect server, a process worker and the deployments, until Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from bdpo.errors import UserError
from bdpo.lifetime import end_with_parent
from flows.delivery import client_of
from flows.turn import by_this_process

_POOL = "bdpo"
_HOST = "127.0.0.1"
_START_S = 120.0


def serve(port: int, project: Path) -> None:
    """Start everything, say how to use it, and stay until interrupted or until a part ends.

    Args:
        port: of the server, on loopback.
        project: folder that holds `prefect.yaml`.

    Raises:
        UserError: there is no `prefect.yaml`, the port is taken, or a part does not start.
    """
    project = project.resolve()
    if not (project / "prefect.yaml").is_file():
        raise UserError(f"{project}: there is no prefect.yaml in this folder; run `bdpo up` in the project's folder.")
    with socket.socket() as probe:
        # Without this, a port that a server has just left would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise UserError(f"Port {port} of {_HOST} is taken; name another: `bdpo up --port {port + 1}`.") from None
    url = f"http://{_HOST}:{port}/api"
    # The programs of this environment are found though it is not activated.
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {
        # By itself the worker would look for requested runs every ten seconds.
        "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "2"),
        "PREFECT_API_URL": url,
        **own_pages_alone(port),
        "PWD": str(project),
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        **by_this_process(),
    }
    prefect = [sys.executable, "-m", "prefect"]
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        server = [*prefect, "server", "start", "--host", _HOST, "--port", str(port)]
        children.append(start_in_group(server, environment, project))
        wait_until_healthy(f"{url}/health", children[0])
        _do([*prefect, "work-pool", "create", _POOL, "--type", "process", "--overwrite"], environment, project)
        # Two runs never train on one device at once, whichever deployments they belong to; the second waits.
        _do([*prefect, "work-pool", "set-concurrency-limit", _POOL, "1"], environment, project)
        _do([*prefect, "--no-prompt", "deploy", "--all"], environment, project)
        _close_abandoned(url)
        worker = [*prefect, "worker", "start", "--pool", _POOL]
        children.append(start_in_group(worker, environment, project))
        sys.stdout.write(
            f"\nReady: http://{_HOST}:{port}\nIn another terminal:\n"
            f"  export PREFECT_API_URL={url}\n"
            f"  {programs}/prefect deployment run bdpo/full --watch\n"
            "Ctrl-C here ends server and worker.\n\n"
        )
        sys.stdout.flush()
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        raise UserError(
            "A part of `bdpo up` ended by itself, and the runs under way with it; what they finished is kept: "
            "start `bdpo up` and the runs again."
        )
    finally:
        _end(children)


def own_pages_alone(port: int) -> dict[str, str]:
    """What to add to a server's environment, so that no other page in a browser here can use its API.

    Prefect lets every page do so unless told otherwise, and whoever may create runs may run code.
    """
    name = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
    return {name: os.environ.get(name, f"http://{_HOST}:{port},http://localhost:{port}")}


def start_in_group(command: list[str], environment: dict[str, str], project: Path) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, which ends with this process.

    Args:
        command: what to run.
        environment: its variables.
        project: its folder.
    """
    return subprocess.Popen(command, env=environment, cwd=project, start_new_session=True, preexec_fn=end_with_parent)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait for a Prefect server that was just started; that another one answers at its port does not count.

    Args:
        url: of its health check.
        server: its process, or the one that starts it.

    Raises:
        UserError: it ended, or does not answer in time.
    """
    deadline = time.monotonic() + _START_S
    port = urllib.parse.urlsplit(url).port
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError("The Prefect server did not start; what it said stands above.")
        with suppress(urllib.error.URLError, OSError):
            if _listens(server.pid, port):
                with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a loopback address of our own
                    return
        time.sleep(0.3)
    raise UserError(f"The Prefect server did not answer within {_START_S:g} seconds.")


def _listens(pid: int, port: int | None) -> bool:
    with suppress(psutil.Error):
        own = psutil.Process(pid)
        for process in (own, *own.children(recursive=True)):
            found = process.net_connections("tcp")
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in found):
                return True
    return False


def _do(command: list[str], environment: dict[str, str], project: Path) -> None:
    done = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split())[-500:]
        raise UserError(f"`prefect {' '.join(command[3:])}` failed: {said}")


def _close_abandoned(url: str) -> None:
    """Mark runs as crashed that an earlier `bdpo up` was ended under: they would keep the pool's one place for ever."""
    living = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            living.add(process.environ().get("PREFECT__FLOW_RUN_ID"))
    states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    with client_of(url) as client:
        left = client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[_POOL])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
        )
        for run in left:
            if str(run.id) not in living:
                client.set_flow_run_state(run.id, Crashed(message=_ABANDONED), force=True)


_ABANDONED = "The process of this run is gone; what it finished is kept, and another run goes on from there."


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """End the worker, then the server, which the worker would miss; runs under way end with this process."""
    for child in reversed(children):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=8)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
