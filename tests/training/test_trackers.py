"""Real trackers: Weights & Biases offline, MLflow in a SQLite file; what is not installed is refused first."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bdpo.errors import UserError
from bdpo.training.trackers import metrics_of, open_trackers, require_trackers
from tests.paths import ROOT

ROWS: list[dict[str, Any]] = [
    {"step": 1, "epoch": 0.5, "split": "train", "loss": 0.7, "rewards/margins": 0.0},
    {"step": 2, "epoch": 1.0, "split": "train", "loss": 0.6, "rewards/margins": 0.2},
    {"step": 2, "epoch": 1.0, "split": "validation", "eval_loss": 0.65, "gap/rewards/margins": 0.1},
]
SECRET = "c0ffee" * 7


def test_names_are_those_that_dashboards_know() -> None:
    assert metrics_of(ROWS[1]) == {"train/epoch": 1.0, "train/loss": 0.6, "train/rewards/margins": 0.2}
    assert metrics_of(ROWS[2]) == {"epoch": 1.0, "eval/loss": 0.65, "gap/rewards/margins": 0.1}


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow-skinny")])
def test_a_tracker_that_is_not_installed_is_named_before_any_work(
    name: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_trackers([])
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"bdpo.training.{name}_tracker", raising=False)
    said = rf"^train\.report_to needs the package {package}, which is not installed: `pip install {package}`, or"
    with pytest.raises(UserError, match=said):
        require_trackers([name])


_TRACK = """
import json, sys
from pathlib import Path
from bdpo.errors import UserError
from bdpo.training.trackers import open_trackers
try:
    folder = Path(sys.argv[2])
    (tracker,) = open_trackers([sys.argv[1]], run="dpo-abc", settings={"beta": 0.1}, folder=folder, say=print)
except UserError as error:
    sys.exit(str(error))
with tracker:
    for row in json.loads(sys.argv[3]):
        tracker.write(row)
"""


def track(name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own, as trackers keep state in theirs."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_"))}
    command = [sys.executable, "-c", _TRACK, name, str(folder), json.dumps(ROWS)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        command,
        cwd=folder,
        env=plain | {"PYTHONPATH": path, "HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


_STAND_IN = """
import json, os
from types import SimpleNamespace
__version__ = "VERSION"
reports_errors = os.environ.get("WANDB_ERROR_REPORTING")
run = None
class Error(Exception):
    pass
class Settings:
    def __init__(self, **fields):
        if fields.keys() & {UNKNOWN}:
            raise ERROR("unknown: " + ", ".join(fields.keys() & {UNKNOWN}))
        self.fields = fields
def setup():
    return SimpleNamespace(settings=SimpleNamespace(mode="MODE"))
def login(*, prompt):
    return False
def init(*, settings, **_):
    print(json.dumps(settings.fields | {"reports_errors": reports_errors}))
    return SimpleNamespace(define_metric=ignore, log=LOG, finish=ignore)
def ignore(*_, **__):
    pass
def refuse(*_, **__):
    raise BrokenPipeError(32, "Broken pipe")
"""
"""Of wandb: it prints the settings that it is given."""


def stand_in(folder: Path, **values: str) -> None:
    text = _STAND_IN
    for name, value in {"VERSION": "0.30.0", "UNKNOWN": "''", "MODE": "offline", "LOG": "ignore", **values}.items():
        text = text.replace(name, value)
    (folder / "wandb.py").write_text(text)


def test_wandb_is_told_to_send_nothing_of_the_machine_and_not_to_wait_for_ever(tmp_path: Path) -> None:
    stand_in(tmp_path)
    ended = track("wandb", tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[0])
    assert [name for name, value in told.items() if value is True] == [
        "silent",
        "disable_code",
        "disable_git",
        "disable_job_creation",
        "finish_timeout_raises",
        "x_disable_machine_info",
        "x_disable_meta",
        "x_disable_stats",
    ]
    rest = {"console": "off", "save_code": False, "host": "", "program": "bdpo", "x_save_requirements": False}
    rest |= {"finish_timeout": 60.0, "reports_errors": "false"}
    assert {name: value for name, value in told.items() if value is not True} == rest


@pytest.mark.parametrize("error", ["TypeError", "ValueError"], ids=["before 0.19", "pydantic"])
def test_a_wandb_that_cannot_be_told_so_is_not_used(tmp_path: Path, error: str) -> None:
    stand_in(tmp_path, UNKNOWN="'x_disable_stats'", ERROR=error)
    ended = track("wandb", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == (
        "train.report_to: wandb 0.30.0 does not know all settings that keep what it sends to metrics and settings: "
        "install another version, 0.30 or later.\n"
    )


def test_a_wandb_that_is_too_old_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its login has no `prompt`."""
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(__version__="0.29.0"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delitem(sys.modules, "bdpo.training.wandb_tracker", raising=False)
    said = r"^train\.report_to: wandb 0\.29\.0 is too old: `pip install 'wandb>=0\.30'`, or take it out\.$"
    with pytest.raises(UserError, match=said):
        require_trackers(["wandb"])


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_where_wandb_itself_is_set_to_stay_offline_no_account_is_missed(tmp_path: Path, mode: str) -> None:
    """By a settings file that `wandb offline` writes; its login returns False there as without an account."""
    stand_in(tmp_path, MODE=mode)
    ended = track("wandb", tmp_path)
    assert ended.returncode == (mode == "online"), ended.stderr
    assert ("wandb knows no account here" in ended.stderr) is (mode == "online")


def test_a_wandb_that_breaks_ends_the_reporting_and_not_the_training(tmp_path: Path) -> None:
    stand_in(tmp_path, LOG="refuse")
    ended = track("wandb", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1:] == [
        "train: wandb no longer works and gets no more metrics: [Errno 32] Broken pipe; `wandb sync` can send later "
        "what it has kept"
    ]


def wandb_records(path: Path) -> Iterator[bytes]:
    """What an offline file of wandb holds: after 7 bytes a LevelDB log, here of one block and whole records."""
    data, position = path.read_bytes(), 7
    assert data[:4] == b":W&B"
    assert len(data) < 32768
    while position < len(data):
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        assert kind == 1
        yield data[position + 7 : position + 7 + length]
        position += 7 + length


@pytest.mark.slow
def test_wandb_gets_every_row_offline_and_keeps_no_secret(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    from wandb.proto.wandb_internal_pb2 import Record

    ended = track("wandb", tmp_path, WANDB_MODE="offline", WANDB_API_KEY=SECRET)
    assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found, configs = [], []
    for data in wandb_records(path):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            found.append({k: float(v) for k, v in items.items() if not k.startswith("_")})
        if record.HasField("run"):
            configs.append({item.key: item.value_json for item in record.run.config.update})
            assert (record.run.project, record.run.display_name, record.run.host) == ("bdpo", "dpo-abc", "")
        assert not record.HasField("stats")
        assert not record.HasField("environment")
    assert found == [{"step": row["step"], **metrics_of(row)} for row in ROWS]
    assert configs[0]["beta"] == "0.1"
    for told in (socket.gethostname(), sys.executable, str(Path.cwd())):
        assert told.encode() not in path.read_bytes()
    assert not [file.name for file in path.parent.glob("files/*") if file.suffix in (".txt", ".json", ".log")]
    for file in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_wandb_without_an_account_says_what_to_set(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    ended = track("wandb", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1] == (
        "train.report_to: wandb knows no account here: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline."
    )


@pytest.mark.slow
def test_mlflow_gets_every_row(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    ended = track("mlflow", tmp_path, MLFLOW_TRACKING_URI=uri, MLFLOW_EXPERIMENT_NAME="safety")
    assert ended.returncode == 0, ended.stderr
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("safety").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params) == ("dpo-abc", "FINISHED", {"beta": "0.1"})
    for row in ROWS:
        for name, value in metrics_of(row).items():
            assert (row["step"], value) in [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


_REPORTER = """
from bdpo.training.trackers import require_trackers
require_trackers(["mlflow"])
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client())
"""


@pytest.mark.slow
def test_mlflow_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """In the order of a training; in an environment without what MLflow takes for a test, where it keeps quiet."""
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": path}
    command = [sys.executable, "-c", _REPORTER]
    ended = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.stdout, ended.returncode) == ("None\n", 0), ended.stderr


@pytest.mark.slow
def test_a_tracking_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    ended = track(
        "mlflow",
        tmp_path,
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )
    assert ended.returncode == 1
    assert "train.report_to: mlflow cannot begin a run: " in ended.stderr.strip().splitlines()[-1]


def test_a_server_that_no_longer_answers_ends_the_reporting_and_not_the_training(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from mlflow.exceptions import MlflowException

    from bdpo.training.mlflow_tracker import MlflowRun

    class Gone:
        calls = 0

        def log_batch(self, *args: Any, **kwargs: Any) -> None:
            self.calls += 1
            raise MlflowException("connection refused\nand more")

        set_terminated = log_batch

    client = Gone()
    said: list[str] = []
    with MlflowRun(client, "run", said.append) as tracker:
        tracker.write(ROWS[0])
        tracker.write(ROWS[1])
    assert said == ["train: mlflow no longer answers and gets no more metrics: connection refused"]
    assert client.calls == 1


def test_nothing_is_opened_where_nothing_is_asked_for(tmp_path: Path) -> None:
    assert open_trackers([], run="x", settings={}, folder=tmp_path, say=print) == []
