"""`bdpo up` for real: server, worker and deployments, driven with Prefect's own command."""

import http
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.flows.origins import may_be_used_by
from tests.paths import ROOT
from tests.tiny_run import tiny_run

START_S = 600
END_S = 60
"""What is ended is gone in ten seconds or twenty; a busy machine takes longer."""


class Up:
    """A running `bdpo up` with a home of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
        self.environment["PREFECT_WORKER_QUERY_SECONDS"] = "0.5"
        self.environment.pop("PREFECT_API_URL", None)
        self.log = home / "up.log"
        command = [sys.executable, "-m", "bdpo.cli", "up", "--port", str(self.port), "--project", str(ROOT)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=home)
        deadline = time.monotonic() + START_S
        try:
            while "Ready: " not in self.log.read_text():
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.2)
        except BaseException:
            self.process.kill()  # no fixture knows it yet
            raise

    def run(self, deployment: str, **parameters: Any) -> subprocess.CompletedProcess[str]:
        """`prefect deployment run bdpo/NAME --watch`."""
        command = [sys.executable, "-m", "prefect", "deployment", "run", f"bdpo/{deployment}", "--watch"]
        for name, value in parameters.items():
            command += ["--param", f"{name}={json.dumps(value)}"]
        own = self.environment | {"PREFECT_API_URL": self.url}
        try:
            return subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=START_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end: {self.messages(self.last_run()['id'])}")

    def ask(self, what: str, **body: Any) -> list[dict[str, Any]]:
        """Rows of `POST /api/<what>/filter`."""
        rows: list[dict[str, Any]] = self.post(f"{what}/filter", **body)
        return rows

    def start(self, deployment: str, **parameters: Any) -> str:
        """The id of a flow run that is not waited for."""
        (found,) = self.ask("deployments", deployments={"name": {"any_": [deployment]}})
        created: dict[str, str] = self.post(f"deployments/{found['id']}/create_flow_run", parameters=parameters)
        return created["id"]

    def finish(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """A flow run, as it was when it had ended."""
        run = self.start(deployment, **parameters)
        until(lambda: self.read(run)["state_type"] in ("COMPLETED", "FAILED", "CRASHED"))
        return self.read(run)

    def cancel(self, run: str) -> None:
        """What the button in the UI does."""
        self.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})

    def read(self, run: str) -> dict[str, Any]:
        """A flow run by its id."""
        return self.ask("flow_runs", flow_runs={"id": {"any_": [run]}})[0]

    def messages(self, run: str) -> list[str]:
        """What a flow run has logged."""
        return [row["message"] for row in self.ask("logs", logs={"flow_run_id": {"any_": [run]}})]

    def post(self, place: str, **body: Any) -> Any:
        """The answer to a request."""
        request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
            f"{self.url}/{place}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                # Its SQLite is locked by another request; Prefect's own clients ask again too.
                if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def lineage(self) -> dict[str, set[str]]:
        """Asset to the assets it was made from, by the events of their making."""
        found = self.post("events/filter", filter={"event": {"prefix": ["prefect.asset.materialization.succeeded"]}})
        return {
            event["resource"]["prefect.resource.id"]: {
                related["prefect.resource.id"]
                for related in event["related"]
                if related["prefect.resource.role"] == "asset"
            }
            for event in found["events"]
        }

    def states(self, run: dict[str, Any]) -> dict[str, str]:
        """Name of the state of each task of a flow run."""
        tasks = self.ask("task_runs", flow_runs={"id": {"any_": [run["id"]]}})
        return {task["task_key"].split("-")[0]: task["state_name"] for task in tasks}

    def last_run(self) -> dict[str, Any]:
        """The newest flow run."""
        return self.ask("flow_runs", sort="START_TIME_DESC", limit=1)[0]


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Interrupted in the end, it leaves no process."""
    running = Up(tmp_path_factory.mktemp("home"))
    try:
        yield running
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert children
        struck = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=END_S) == 130
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert time.monotonic() - struck < 25, "it ended by the limit of Ctrl-C, and not by itself"
        assert "Interrupted." in running.log.read_text()
    finally:
        running.process.kill()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_run(tmp_path_factory.mktemp("run"), num_pairs=20))


def test_deployments_run_cache_and_explain(up: Up, config: str) -> None:
    stages = ("ingest", "score", "train", "evaluate")
    only = {row["name"]: row["parameters"].get("only") for row in up.ask("deployments")}
    assert only == {"full": None} | {stage: stage for stage in stages}
    # A slot of the deployment's own is a lease, by which a server that starts anew ends the run.
    assert not any(row["global_concurrency_limit"] for row in up.ask("deployments"))
    assert [(row["name"], row["concurrency_limit"]) for row in up.ask("work_pools")] == [("bdpo", 1)]

    # Any other page could start a run that has the worker fetch and run code.
    assert may_be_used_by("https://evil.example", up.url) is None
    own = up.url.removesuffix("/api")
    assert may_be_used_by(own, up.url) == own

    full = up.run("full", config=config)
    assert full.returncode == 0, full.stdout + full.stderr
    assert up.states(up.last_run()) == dict.fromkeys(stages, "Completed")
    kinds = {(row["type"], row["key"]) for row in up.ask("artifacts")}
    assert ("table", "bdpo-evaluation") in kinds
    assert {("markdown", f"bdpo-{stage}") for stage in stages} <= kinds
    assert any(kind == "progress" for kind, _ in kinds)
    # As Prefect stores links.
    assert {("markdown", f"bdpo-{stage}-data-docs") for stage in ("ingest", "score", "evaluate")} <= kinds
    assert ("markdown", "bdpo-evaluate-report") in kinds
    until(lambda: len(up.lineage()) == 4)
    data = (Path(config).parent / "pairs.jsonl").as_uri()
    assert up.lineage() == {
        "bdpo://tiny/pairs": {data},
        "bdpo://tiny/scores": {"bdpo://tiny/pairs"},
        "bdpo://tiny/policy": {"bdpo://tiny/pairs", "bdpo://tiny/scores"},
        "bdpo://tiny/report": {"bdpo://tiny/pairs", "bdpo://tiny/scores", "bdpo://tiny/policy"},
    }

    again = up.finish("full", config=config, overrides=["evaluate.max_new_tokens=4"])
    assert again["state_type"] == "COMPLETED", again["state"]
    assert up.states(again) == dict.fromkeys(("ingest", "score", "train"), "Cached") | {"evaluate": "Completed"}
    assert any("evaluate.max_new_tokens: 8 -> 4" in message for message in up.messages(again["id"]))


def test_a_cancelled_run_ends_its_training_and_makes_room_for_the_next(up: Up, config: str) -> None:
    """Long enough never to end by itself here; the next lacks what it needs."""
    folder = Path(config).parent
    steps = ["train.epochs=2000", "train.checkpoint_every=5", "train.eval_every=10000"]
    first = up.start("full", config=config, overrides=steps)
    until(lambda: list((folder / "artifacts").glob("train/*.partial/scratch/checkpoints/step-*/complete.json")))
    workers = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]
    assert any("bdpo.training.worker" in " ".join(p.info["cmdline"]) for p in workers)
    up.cancel(first)
    assert not psutil.wait_procs(workers, timeout=END_S)[1]
    until(lambda: up.read(first)["state_type"] == "CANCELLED")
    # By itself: one that Prefect has to kill after half a minute says nothing any more.
    until(lambda: f"Execution of flow run '{first}' was terminated." in up.log.read_text())

    early = up.finish("train", config=config, overrides=["ingest.seed=1"])
    assert early["state_type"] == "FAILED"
    assert "prefect deployment run bdpo/ingest" in early["state"]["message"]


@pytest.mark.slow
def test_a_run_waits_for_a_person_before_training_and_goes_on_when_resumed(up: Up, tmp_path: Path) -> None:
    config = str(tiny_run(tmp_path, num_pairs=20))
    run = up.start("full", config=config, pause_before_train=True, force=["ingest"])
    until(lambda: up.read(run)["state_name"] == "Suspended")
    assert up.states(up.read(run)) == {"ingest": "Completed", "score": "Completed"}
    assert not (tmp_path / "artifacts" / "train").exists()
    up.post(f"flow_runs/{run}/resume")
    until(lambda: up.read(run)["state_type"] == "COMPLETED")
    assert up.states(up.read(run)) | {"ingest": "Cached", "score": "Cached"} == {
        "ingest": "Cached",
        "score": "Cached",
        "train": "Completed",
        "evaluate": "Completed",
    }
    ingested = up.ask("task_runs", flow_runs={"id": {"any_": [run]}}, task_runs={"name": {"like_": "ingest"}})
    assert sorted(task["state_name"] for task in ingested) == ["Cached", "Completed"], "what was looked at stays"
    # What is cached is not waited for.
    again = up.run("full", config=config, pause_before_train=True)
    assert again.returncode == 0
    assert set(up.states(up.last_run()).values()) == {"Cached"}


@pytest.mark.slow
def test_a_killed_run_that_is_started_anew_goes_on_with_what_it_forced(up: Up, tmp_path: Path) -> None:
    """As after the loss of a node, or by Retry in the UI."""
    config = tiny_run(tmp_path, num_pairs=20, train={"epochs": 2000, "checkpoint_every": 5, "eval_every": 10_000})
    run = up.start("full", config=str(config), force=["score", "train"])
    until(lambda: list((tmp_path / "artifacts").glob("train/*.partial/scratch/checkpoints/step-*/complete.json")))
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                process.kill()
    until(lambda: up.read(run)["state_type"] == "CRASHED")
    now = {"scheduled_time": datetime.now(UTC).isoformat()}
    up.post(f"flow_runs/{run}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry", "state_details": now})
    until(lambda: any("going on from the checkpoint of step" in message for message in up.messages(run)))
    scored = up.ask("task_runs", flow_runs={"id": {"any_": [run]}}, task_runs={"name": {"like_": "score"}})
    assert sorted(task["state_name"] for task in scored) == ["Cached", "Completed"]
    up.cancel(run)
    until(lambda: up.read(run)["state_type"] == "CANCELLED")


@pytest.mark.slow
def test_a_second_run_waits_until_the_first_has_ended(up: Up, tmp_path: Path) -> None:
    first_config = tiny_run(tmp_path, num_pairs=20, train={"epochs": 2000, "eval_every": 10_000})
    first = up.start("full", config=str(first_config))
    until(lambda: list((tmp_path / "artifacts").glob("train/*.partial/scratch/metrics.jsonl")))
    second = up.start("ingest", config=str(first_config))
    time.sleep(10)  # the worker asks for work every two seconds
    assert up.read(first)["state_type"] == "RUNNING"
    assert up.read(second)["state_type"] != "RUNNING"
    up.cancel(first)
    until(lambda: up.read(second)["state_type"] == "COMPLETED")
    until(lambda: up.read(first)["state_type"] == "CANCELLED")


def test_a_value_of_the_wrong_type_is_refused_before_a_run_is_made(up: Up) -> None:
    (full,) = up.ask("deployments", deployments={"name": {"any_": ["full"]}})
    properties = full["parameter_openapi_schema"]["properties"]
    assert {name: field["title"] for name, field in properties.items()}.keys() == {
        "config", "overrides", "only", "force", "with_inputs", "pause_before_train", "share",
    }  # fmt: skip
    for wrong in ({"only": "trian"}, {"with_inputs": "perhaps"}, {"force": ["everything"]}, {"overrides": "beta=1"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            up.start("full", **wrong)
        assert refused.value.code in (409, 422), wrong


_PART = """
import os, time
from pathlib import Path
from flows.up import start_in_group
print(start_in_group(["/usr/bin/env", "sleep", "600"], dict(os.environ), Path()).pid, flush=True)
time.sleep(600)
"""


def test_killed_it_leaves_none_of_its_parts() -> None:
    """One part in place of server and worker; with both, and a run under way, below."""
    with subprocess.Popen([sys.executable, "-c", _PART], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        part = psutil.Process(int(process.stdout.readline()))
        assert part.is_running()
        process.kill()
    assert not psutil.wait_procs([part], timeout=END_S)[1]


@pytest.mark.slow
def test_what_a_killed_one_had_under_way_ends_and_the_next_goes_on(tmp_path: Path) -> None:
    """Its server, worker, run and training; the next closes the run, which would keep the only place for ever."""
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    folder.mkdir()
    config = str(tiny_run(folder, num_pairs=20, train={"epochs": 2000, "checkpoint_every": 5, "eval_every": 10_000}))
    killed = Up(home)
    first = killed.start("full", config=config)
    until(lambda: list((folder / "artifacts").glob("train/*.partial/scratch/checkpoints/step-*/complete.json")))
    descendants = psutil.Process(killed.process.pid).children(recursive=True)
    assert any("bdpo.training.worker" in " ".join(process.cmdline()) for process in descendants)
    killed.process.kill()
    killed.process.wait()
    assert not psutil.wait_procs(descendants, timeout=END_S)[1]
    again = Up(home)
    try:
        assert again.read(first)["state_type"] == "CRASHED"
        second = again.start("train", config=config)
        until(lambda: any("of 6000 steps, " in message for message in again.messages(second)))
        assert any("going on from the checkpoint of step" in message for message in again.messages(second))
        descendants = psutil.Process(again.process.pid).children(recursive=True)
        again.process.send_signal(signal.SIGINT)
        assert again.process.wait(timeout=END_S) == 130
        assert not psutil.wait_procs(descendants, timeout=END_S)[1]
    finally:
        again.process.kill()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "bdpo.cli", "up", "--port", str(port), "--project", str(ROOT)]
        environment = os.environ | {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr.strip() == f"error: Port {port} of 127.0.0.1 is taken; name another: `bdpo up --port {port + 1}`."
    )
