"""What a process of a training sets before it loads anything; trainings themselves are in test_processes.py."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bdpo.training import reproducible, trainer, worker, worker_files


class StoppedError(Exception):
    """Where the training would begin."""


def test_a_worker_has_its_gpu_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(job: object) -> None:
        seen.append("the model")
        raise StoppedError

    seen: list[object] = []
    places = {"model_folder": str(tmp_path), "folder": str(tmp_path), "parent_host": "another machine"}
    job = SimpleNamespace(**places, visible_gpus=None, seed=0, deterministic=False)
    monkeypatch.setattr(worker_files.Job, "read", lambda _: job)
    monkeypatch.setattr(worker, "die_unread", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["worker", "job.json"])
    monkeypatch.setattr(reproducible, "make_reproducible", lambda *_, **__: None)
    monkeypatch.setattr(trainer, "Trainer", begin)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    for name, value in (("PATH", os.environ["PATH"]), ("RANK", "3"), ("LOCAL_RANK", "3"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    with pytest.raises(StoppedError):
        worker.main()
    assert seen == [3, "the model"]
