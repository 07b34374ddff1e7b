"""One training at a time has a device; others wait for it, and for nothing else."""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bdpo.errors import UserError
from bdpo.training.devices import have_devices, training_devices
from tests.paths import ROOT
from tests.training.stage_runs import Run

_HOLD = """
import sys
from pathlib import Path
from bdpo.artifacts.locks import hold
with hold(Path(sys.argv[1]), lambda: None):
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("_own_locks")
def test_who_comes_second_waits_says_for_whom_and_goes_on_when_the_first_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    heard, had = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        heard.set()

    def second() -> None:
        with have_devices(["cpu"], work=tmp_path / "second", say=say):
            had.set()

    with have_devices(["cpu"], work=tmp_path / "first", say=said.append):
        pass
    (lock,) = tmp_path.glob("bdpo-*/cpu.lock")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"
        waiting = threading.Thread(target=second)
        waiting.start()
        assert heard.wait(60)
        with have_devices(["gpu-0"], work=tmp_path / "third", say=said.append):
            assert not had.is_set()
        first.kill()
        waiting.join(60)
    assert had.is_set()
    assert len(said) == 1
    assert said[0].startswith("train: another training has the CPU: process ")
    assert said[0].endswith(f"which works on {tmp_path / 'first'}; waiting for it to end")


def test_without_a_gpu_the_cpu_is_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert training_devices(4, alone=True) == ["cpu"]


def test_gpus_are_known_by_what_they_are_and_not_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid="ab"[i]))
    assert training_devices(1, alone=True) == ["gpu-a"]
    assert training_devices(8, alone=False) == ["gpu-a", "gpu-b"]
    with pytest.raises(UserError, match=r"train\.processes is 3 where 2 GPUs are seen: each process takes one"):
        training_devices(3, alone=True)


@pytest.mark.slow
def test_of_two_runs_by_hand_the_second_trains_when_the_first_is_gone(run: Any, config: Path, tmp_path: Path) -> None:
    other = shutil.copytree(config.parent, tmp_path / "other") / config.name
    first = run("train.epochs=200")
    first.wait_for(lambda: first.steps() >= 1, "step 1")
    second = Run(other)
    try:
        while second.scratch is None or not (second.scratch / "job.json").exists():
            assert second.parent.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        assert not (second.scratch / "train.log").exists()
        first.kill("parent")
        assert second.parent.wait(timeout=500) == 0
    finally:
        second.parent.kill()
        second.parent.wait()
