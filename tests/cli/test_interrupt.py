"""Ctrl-C in a terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bdpo.cli import _guarded
from bdpo.cli.run import plan
from tests.cli.command import environment_of
from tests.tiny_run import tiny_run


def test_ctrl_c_ends_training_and_the_same_command_goes_on(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long enough never to end by itself here; the second run is interrupted once it has gone on."""
    config = tiny_run(tmp_path, train={"epochs": 2000, "checkpoint_every": 5, "eval_every": 10_000})
    command = [sys.executable, "-m", "bdpo.cli", "run", str(config)]
    trained = tmp_path / "artifacts" / "train"

    def interrupted(condition: Callable[[], object]) -> str:
        """Run until something is there, interrupt it; what it printed."""
        log = tmp_path / "out.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, env=environment_of(home), stdout=out, stderr=subprocess.STDOUT, process_group=0
            )
        try:
            deadline = time.monotonic() + 600
            while not condition():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            children = psutil.Process(process.pid).children(recursive=True)
            # As a terminal does: to all of the group, Prefect's temporary server among it if it were there.
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) == 130, log.read_text()  # five seconds where nothing else runs
        finally:
            process.kill()  # a training that is left would keep other tests waiting
        alive = psutil.wait_procs(children, timeout=10)[1]
        assert not [process.cmdline() for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        said = log.read_text()
        assert said.strip().splitlines()[-1].startswith("Interrupted. What was finished is kept")
        assert "Traceback" not in said
        return said

    interrupted(lambda: list(trained.glob("*.partial/scratch/checkpoints/step-*/complete.json")))
    plan(config)
    assert "partial" in capsys.readouterr().out
    again = interrupted(lambda: "going on from the checkpoint of step" in (tmp_path / "out.log").read_text())
    assert again.count(" computing, because ") == 1, "ingest and score are kept"


_WAITS = """
import sys, time
from bdpo import cli
from bdpo.pipeline import Pipeline

cli._ENDING_S = 600.0  # it is to end by itself

def run_stage(*_, **__):
    print("ready", flush=True)
    time.sleep(600)

Pipeline.run_stage = run_stage
cli.main()
"""


def test_ctrl_c_ends_a_run_whose_server_is_gone(tmp_path: Path, home: Path) -> None:
    """Prefect would ask for it for more than a minute."""
    command = [sys.executable, "-c", _WAITS, "run", str(tiny_run(tmp_path))]
    with subprocess.Popen(
        command, env=environment_of(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (server,) = psutil.Process(process.pid).children()
        server.kill()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.startswith("Interrupted. "), said
    assert said.count("\n") == 1, said


def test_ctrl_c_within_code_from_a_string_has_the_same_exit_code(tmp_path: Path) -> None:
    """As in the definition of a dataclass, while a stage imports what it needs."""
    script = """
import sys
from bdpo.cli import app, main

@app.command()
def interrupted():
    exec("raise KeyboardInterrupt")

sys.argv = ["bdpo", "interrupted"]
main()
"""
    (tmp_path / "interrupted.py").write_text(script)
    command = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130
    assert ended.stderr.strip().startswith("Interrupted. ")


@pytest.mark.parametrize(
    ("options", "end"),
    [(["--only", "train"], "goes on from there."), (["--force", "train"], "but begins a forced stage anew.")],
)
def test_what_is_said_of_the_next_run_is_true_of_a_forced_stage_too(
    options: list[str], end: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bdpo", "run", "my-run.yaml", *options])
    assert _guarded(lambda: sys.exit(130)) == 130
    assert capsys.readouterr().err.strip().endswith(end)
