"""What a process of a training sets before it loads anything; trainings themselves are in test_processes.py."""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bdpo.layout.rows import Layout
from bdpo.lifetime import pid_place
from bdpo.logprobs.attention import has_packed_attention
from bdpo.training import reproducible, trainer, worker, worker_files
from tests.tiny import tiny_model


class StoppedError(Exception):
    """Where the training would begin."""


def stop(*_: object) -> None:
    raise StoppedError


def start(folder: Path, begin: Callable[[object], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose training is `begin`."""
    places = {"model_folder": str(folder), "folder": str(folder), "parent_place": "another machine"}
    job = SimpleNamespace(**places, visible_gpus=None, seed=0, deterministic=False)
    monkeypatch.setattr(worker_files.Job, "read", lambda _: job)
    monkeypatch.setattr(worker, "die_unread", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["worker", "job.json"])
    monkeypatch.setattr(reproducible, "make_reproducible", lambda *_, **__: None)
    monkeypatch.setattr(trainer, "Trainer", begin)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for name, value in (("PATH", os.environ["PATH"]), ("RANK", "3"), ("LOCAL_RANK", "3"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    worker.main()


def test_a_worker_has_its_gpu_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(job: object) -> None:
        seen.append("the model")
        raise StoppedError

    seen: list[object] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    with pytest.raises(StoppedError):
        start(tmp_path, begin, monkeypatch)
    assert seen == [3, "the model"]


def test_a_full_disk_is_said_with_the_folder_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(job: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    scratch = tmp_path / "train" / "0123.partial" / "scratch"
    scratch.mkdir(parents=True)
    with pytest.raises(OSError, match="No space left"):
        start(scratch, begin, monkeypatch)
    assert f"(`artifacts:` is {tmp_path})" in (scratch / worker_files.ERROR_FILE).read_text()


_BOOT, _NAMESPACE = "0a84c7e0-5a0f-4d4c-8a39-6b5d7f1a2c33", "pid:[1]"


@pytest.mark.parametrize(
    ("place", "is_here"), [("{0} {1} {2}", True), (f"{{0}} {_BOOT} {{2}}", False), (f"{{0}} {{1}} {_NAMESPACE}", False)]
)
def test_the_parents_number_is_looked_for_only_where_it_is_the_parents(
    place: str, is_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine, or a container, may have this one's name; a number that is not there would end the worker."""
    watched: list[tuple[int, int]] = []
    job = SimpleNamespace(parent_place=place.format(*pid_place().split()), parent_pid=7, parent_started=8)
    monkeypatch.setattr(worker_files.Job, "read", lambda _: job)
    monkeypatch.setattr(worker, "die_with", lambda *parent: watched.append(parent))
    monkeypatch.setattr(worker, "die_unread", stop)
    monkeypatch.setattr(sys, "argv", ["worker", "job.json"])
    with pytest.raises(StoppedError):
        worker.main()
    assert watched == ([(7, 8)] if is_here else [])


def begin(layout: str | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer on a model whose layers raise in main memory, as those with kernels for a GPU alone do."""

    def refuse(*_: object) -> None:
        raise RuntimeError("Expected all tensors to be on cuda")

    model = tiny_model()
    model.model.layers[0].register_forward_pre_hook(refuse)
    monkeypatch.setattr(trainer, "join_processes", lambda: None)
    monkeypatch.setattr(trainer, "rank_and_world", lambda: (0, 1))
    monkeypatch.setattr(trainer, "read_split", lambda *_: SimpleNamespace(rows=[None]))
    monkeypatch.setattr(trainer, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(trainer, "Engine", lambda model, **_: SimpleNamespace(model=model))
    settings = dict.fromkeys(field.name for field in fields(worker_files.Job))
    settings |= {"folder": "here", "model_folder": "there", "world": 1, "batch_size": 1, "constants": {"beta": 0.1}}
    job: Any = worker_files.Job(**settings | {"layout": layout})  # type: ignore[arg-type]
    return trainer.Trainer(job)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_worker_makes_no_trial_and_takes_the_layout_of_its_parent(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = begin(layout.value, monkeypatch)
    assert begun.layout is layout
    assert has_packed_attention(begun.engine.model) is (layout is Layout.PACKED)


@pytest.mark.parametrize("layout", [None, "sparse"])
def test_a_worker_without_a_layout_does_not_guess(layout: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not a valid Layout"):
        begin(layout, monkeypatch)
