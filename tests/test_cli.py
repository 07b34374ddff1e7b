"""The commands as a user meets them: real processes, exit codes, one sentence for a mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.paths import ROOT
from tests.tiny_run import tiny_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Prefect's own files, so that nothing of the user's is touched."""
    return tmp_path_factory.mktemp("home")


def bdpo(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "bdpo.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def test_a_whole_run_then_a_cached_one_then_questions(tmp_path: Path, home: Path) -> None:
    config = tiny_run(tmp_path)
    first = bdpo("run", config, home=home)
    assert first.returncode == 0, first.stderr
    assert "base against aligned" in first.stdout
    assert "refusal of harmful prompts" in first.stdout
    (report,) = (tmp_path / "artifacts" / "evaluate").glob("*/report.html")
    assert f"report    {report}" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    again = bdpo("run", config, home=home)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(" cached ") == 4
    only = bdpo("run", config, "--only", "ingest", "--force", "ingest", home=home)
    assert only.returncode == 0, only.stderr
    assert "computed" in only.stdout
    planned = bdpo("plan", config, "--set", "train.beta=0.2", home=home)
    assert planned.returncode == 0
    assert "train.beta: 0.1 -> 0.2" in planned.stdout
    asked = ("query", "select pair_id, weight_chosen from scored_pairs order by 1 limit 2")
    place = ("--artifacts", tmp_path / "artifacts")
    rows = json.loads(bdpo(*asked, "--format", "json", *place, home=home).stdout)
    assert [list(row) for row in rows] == [["pair_id", "weight_chosen"]] * 2
    lines = bdpo(*asked, "--format", "csv", *place, home=home).stdout.splitlines()
    assert lines == ["pair_id,weight_chosen", *(f"{row['pair_id']},{row['weight_chosen']}" for row in rows)]
    wrong = bdpo("query", "select * from nothing", *place, home=home)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: query: Catalog Error")
    assert "scored_pairs" in wrong.stderr


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a user reads of a mistake: exactly one line, and a failing exit code."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_mistakes_get_one_sentence(tmp_path: Path, home: Path) -> None:
    config = tiny_run(tmp_path, num_pairs=4)
    gone = sentence(bdpo("run", tmp_path / "gone.yaml", home=home))
    assert gone == f"error: {tmp_path}/gone.yaml: there is no such config file."
    unknown = sentence(bdpo("run", config, "--set", "train.betta=1", home=home))
    assert "unknown field `train.betta`: did you mean `beta`?" in unknown
    missing = sentence(bdpo("run", config, "--only", "train", home=home))
    assert "Stage train needs the artifact of ingest" in missing
    assert "--with-inputs" in missing
    (tmp_path / "pairs.jsonl").write_text('{"question": 1}\n')
    columns = sentence(bdpo("run", config, home=home))
    assert "the columns `question` are those of no known format" in columns
    (tmp_path / "model" / "model.safetensors").unlink()
    weights = sentence(bdpo("run", config, home=home))
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


def test_a_disk_that_takes_nothing_gets_one_sentence(tmp_path: Path, home: Path) -> None:
    config = tiny_run(tmp_path, num_pairs=8)
    with mounted(tmp_path / "small", "size=1m") as small:
        full = sentence(bdpo("run", config, "--set", f"artifacts={small / 'a'}", home=home))
        assert "the disk is full; nothing finished is lost" in full
        assert not list(small.rglob("manifest.json"))
        # With room, the same command goes on.
        subprocess.run(["/bin/mount", "-o", "remount,size=64m", str(small)], check=True)
        again = bdpo("run", config, "--only", "ingest", "--set", f"artifacts={small / 'a'}", home=home)
        assert again.returncode == 0, again.stderr
    with mounted(tmp_path / "readable", "ro") as readable:
        fixed = sentence(bdpo("run", config, "--set", f"artifacts={readable / 'a'}", home=home))
        assert f"{readable / 'a'}: the file system is read-only" in fixed


def test_ctrl_c_ends_training_and_the_same_command_goes_on(tmp_path: Path, home: Path) -> None:
    """Long enough never to end by itself here; the second run is interrupted once it has gone on."""
    config = tiny_run(tmp_path, train={"epochs": 2000, "checkpoint_every": 5, "eval_every": 10_000})
    command = [sys.executable, "-m", "bdpo.cli", "run", str(config)]
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("PREFECT_API_URL", None)
    trained = tmp_path / "artifacts" / "train"

    def interrupted(condition: Callable[[], object]) -> str:
        """Run until something is there, interrupt it; what it printed."""
        log = tmp_path / "out.log"
        with log.open("w") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, process_group=0)
        deadline = time.monotonic() + 200
        while not condition():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        # As a terminal does: to all of the group, Prefect's temporary server among it if it were there.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130, log.read_text()  # five seconds where nothing else runs
        alive = psutil.wait_procs(children, timeout=1)[1]
        assert not [process.cmdline() for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        said = log.read_text()
        assert said.strip().splitlines()[-1].startswith("Interrupted. What was finished is kept")
        assert "Traceback" not in said
        return said

    interrupted(lambda: list(trained.glob("*.partial/scratch/checkpoints/step-*/complete.json")))
    assert "partial" in bdpo("plan", config, home=home).stdout
    again = interrupted(lambda: "going on from the checkpoint of step" in (tmp_path / "out.log").read_text())
    assert again.count(" computing, because ") == 1, "ingest and score are kept"


def test_a_query_before_any_run_says_so(tmp_path: Path, home: Path) -> None:
    result = bdpo("query", "select 1", "--artifacts", tmp_path, home=home)
    assert "there is no catalogue; run `bdpo run CONFIG` first" in sentence(result)
