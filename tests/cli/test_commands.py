"""The commands as a user meets them: real processes, exit codes, one sentence for a mistake."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bdpo.cli import app
from bdpo.cli.run import _prefect_environment
from bdpo.errors import UserError
from flows.up import start_in_group, wait_until_healthy
from tests.cli.command import bdpo, environment_of, sentence
from tests.paths import ROOT
from tests.tiny_run import tiny_run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server that most runs here have together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    running = start_in_group(command, environment_of(tmp_path_factory.mktemp("server")) | quiet, ROOT)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/api/health", running)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_a_whole_run_then_a_cached_one_then_questions(
    tmp_path: Path, home: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first with a server of its own, which no proxy leads to."""
    config = tiny_run(tmp_path)
    with monkeypatch.context() as cluster:
        cluster.setenv("http_proxy", "http://127.0.0.1:9")
        cluster.setenv("NO_PROXY", "elsewhere")
        first = bdpo("run", config, home=home)
    assert first.returncode == 0, first.stderr
    assert "base against aligned" in first.stdout
    assert "refusal of harmful prompts" in first.stdout
    (report,) = (tmp_path / "artifacts" / "evaluate").glob("*/report.html")
    assert f"report    {report}" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    again = bdpo("run", config, home=home, server=server)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(" cached ") == 4
    only = bdpo("run", config, "--only", "ingest", "--force", "ingest", home=home, server=server)
    assert only.returncode == 0, only.stderr
    assert "computed" in only.stdout
    planned = bdpo("plan", config, "--set", "train.beta=0.2", home=home)
    assert planned.returncode == 0
    assert "train.beta: 0.1 -> 0.2" in planned.stdout
    asked = ("query", "select pair_id, weight_chosen from scored_pairs order by 1 limit 2")
    place = ("--artifacts", str(tmp_path / "artifacts"))
    rows = json.loads(bdpo(*asked, "--format", "json", *place, home=home).stdout)
    assert [list(row) for row in rows] == [["pair_id", "weight_chosen"]] * 2
    lines = CliRunner().invoke(app, [*asked, "--format", "csv", *place]).stdout.splitlines()
    assert lines == ["pair_id,weight_chosen", *(f"{row['pair_id']},{row['weight_chosen']}" for row in rows)]
    wrong = bdpo("query", "select * from nothing", *place, home=home)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: query: Catalog Error")
    assert "scored_pairs" in wrong.stderr


def test_mistakes_get_one_sentence(tmp_path: Path, home: Path, server: str) -> None:
    config = tiny_run(tmp_path, num_pairs=4)
    gone = sentence(bdpo("run", tmp_path / "gone.yaml", home=home))
    assert gone == f"error: {tmp_path}/gone.yaml: there is no such config file."
    unknown = sentence(bdpo("run", config, "--set", "train.betta=1", home=home))
    assert "unknown field `train.betta`: did you mean `beta`?" in unknown
    missing = sentence(bdpo("run", config, "--only", "train", home=home, server=server))
    assert "Stage train needs the artifact of ingest" in missing
    assert "--with-inputs" in missing
    (tmp_path / "pairs.jsonl").write_text('{"question": 1}\n')
    columns = sentence(bdpo("run", config, home=home))
    assert "the columns `question` are those of no known format" in columns
    (tmp_path / "model" / "model.safetensors").unlink()
    weights = sentence(bdpo("run", config, home=home, server=server))
    assert "holds no *.safetensors weights" in weights
    assert not list((tmp_path / "artifacts").glob("*/*/manifest.json"))


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own, which only root may mount."""
    folder.mkdir()
    done = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_takes_nothing_gets_one_sentence(tmp_path: Path, home: Path, server: str) -> None:
    config = tiny_run(tmp_path, num_pairs=8)
    with mounted(tmp_path / "small", "size=1m") as small:
        full = sentence(bdpo("run", config, "--set", f"artifacts={small / 'a'}", home=home, server=server))
        assert "the disk is full; nothing finished is lost" in full
        assert not list(small.rglob("manifest.json"))
        # With room, the same command goes on.
        subprocess.run(["/bin/mount", "-o", "remount,size=64m", str(small)], check=True)
        there = ("--set", f"artifacts={small / 'a'}")
        again = bdpo("run", config, "--only", "ingest", *there, home=home, server=server)
        assert again.returncode == 0, again.stderr
    with mounted(tmp_path / "readable", "ro") as readable:
        fixed = sentence(bdpo("run", config, "--set", f"artifacts={readable / 'a'}", home=home, server=server))
        assert f"{readable / 'a'}: the file system is read-only" in fixed


def test_a_query_before_any_run_says_so(tmp_path: Path) -> None:
    error = CliRunner().invoke(app, ["query", "select 1", "--artifacts", str(tmp_path)]).exception
    assert isinstance(error, UserError)
    assert "there is no catalogue; run `bdpo run CONFIG` first" in str(error)


def test_no_proxy_at_all_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A star within a list means nothing to Python's own functions."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    _prefect_environment(verbose=True)
    assert urllib.request.proxy_bypass("elsewhere.example")
