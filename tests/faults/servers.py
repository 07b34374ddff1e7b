"""Prefect's server or worker killed while a stage runs under it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil

from tests.faults.subject import PATIENCE_S, Run, fork
from tests.faults.trial import Changes, Trial
from tests.paths import ROOT

_AWAY_S = 5.0
"""How long a server that comes back was away."""
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_PREFECT = (sys.executable, "-m", "prefect")
BDPO = (sys.executable, "-m", "bdpo.cli")


def server(trial: Trial) -> None:
    """`bdpo run` under a server that is killed at a seeded moment, for good or for some seconds."""
    trial.lay()
    port, environment = _own_prefect(trial)
    comes_back = trial.fault.target == "comes-back"
    # For one that stays away, Prefect's own retries would take three minutes.
    environment["PREFECT_CLIENT_MAX_RETRIES"] = "5" if comes_back else "1"
    number = trial.random.randint(0, trial.scale.changes)
    serve = (*_PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port))
    with _running(serve, environment, trial.folder / "server.log", port) as first:
        run = start_command((*BDPO, "run", str(trial.config), "--only", trial.stages[0]), environment, trial.folder)
        trial.wait_until(run, number)
        run.note_children()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        trial.report.moment = f"after change {number} of about {trial.scale.changes}"
        if comes_back:
            time.sleep(_AWAY_S)
            with _running(serve, environment, trial.folder / "server.log", port):
                ended = run.wait()
        else:
            ended = run.wait()
    trial.note(run, ended, ("completed",) if comes_back else ("completed", "sentence"))
    if ended.means == "sentence" and "what was finished is kept" not in ended.said:
        trial.report.problems.append(f"the sentence does not say what happened: {ended.said}")
    trial.carry_on()


def worker(trial: Trial) -> None:
    """A run of `bdpo up` whose worker is killed at a seeded moment; then all is started again."""
    trial.lay()
    port, environment = _own_prefect(trial)
    number = trial.random.randint(0, trial.scale.changes // 2)  # asking the server as well, it sees fewer
    with _up(trial, port, environment) as up:
        first = _ask_for(trial, port)
        changes = Changes(trial.root)
        _until(lambda: changes.look() >= number or _state(port, first) in _ENDED)
        before = _state(port, first)
        trial.report.moment = f"after change {number} of about {trial.scale.changes}, {before}"
        up.note_children()
        (victim,) = [p for p in psutil.Process(up.pid).children() if "worker" in p.cmdline()]
        victim.kill()
        trial.note(up, up.wait(), ("sentence",))
    with _up(trial, port, environment) as up:
        second = _ask_for(trial, port)
        _until(lambda: _state(port, second) in _ENDED)
        states = _state(port, first), _state(port, second)
    # One that no worker had taken yet is taken by the next.
    right = {before} if before in _ENDED else {"CRASHED", "COMPLETED"} if before == "SCHEDULED" else {"CRASHED"}
    if states[0] not in right or states[1] != "COMPLETED":
        trial.report.problems.append(f"the killed worker's run is {states[0]}, the next {states[1]}")
    trial.carry_on()


def _own_prefect(trial: Trial) -> tuple[int, dict[str, str]]:
    """A free port, and the environment of a Prefect with its own database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    own = {
        "PREFECT_HOME": str(trial.folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PYTHONPATH": str(ROOT),
    }
    return port, {**os.environ, **own}


def start_command(command: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Run:
    """Start `bdpo` with an environment; its log lies in the folder."""
    return fork(
        lambda: os.execve(command[0], command, environment),  # noqa: S606
        folder / "logs" / f"{command[3]}-{time.monotonic_ns()}.log",
    )


@contextmanager
def _running(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path, port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect server, until the block ends."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _until(lambda: _answers(port), lambda: process.poll() is None)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _up(trial: Trial, port: int, environment: Mapping[str, str]) -> Iterator[Run]:
    """A `bdpo up`, interrupted when the block ends if it has not ended."""
    run = start_command((*BDPO, "up", "--port", str(port), "--project", str(ROOT)), environment, trial.folder)
    try:
        _until(lambda: run.log.exists() and "Ready: " in run.log.read_text(), lambda: not run.poll())
        yield run
    finally:
        if not run.poll():
            run.note_children()
            os.kill(run.pid, signal.SIGINT)
            trial.note(run, run.wait(), ("interrupted",))


def _ask_for(trial: Trial, port: int) -> str:
    """Ask for the trial's stage; the id of the flow run."""
    (deployment,) = _post(port, "deployments/filter", deployments={"name": {"any_": [trial.stages[0]]}})
    parameters = {"config": str(trial.config), "only": trial.stages[0]}
    created: dict[str, str] = _post(port, f"deployments/{deployment['id']}/create_flow_run", parameters=parameters)
    return created["id"]


def _state(port: int, run: str) -> str:
    (found,) = _post(port, "flow_runs/filter", flow_runs={"id": {"any_": [run]}})
    return str(found["state_type"])


def _post(port: int, place: str, **body: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{place}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # A busy database; Prefect's own client asks again too.
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                raise
        time.sleep(1)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _until(condition: Callable[[], bool], possible: Callable[[], bool] = lambda: True) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert possible(), "it ended before its time"
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.2)
