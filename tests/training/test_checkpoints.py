"""Checkpoints: whole or not there, and never the last one gone."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bdpo.errors import UserError
from bdpo.training import trainer
from bdpo.training.checkpoints import (
    STATE,
    Checkpoint,
    begin_checkpoint,
    checkpoint_of,
    drop_damaged,
    finish_checkpoint,
    latest_checkpoint,
)

MADE_WITH = {"peak_learning_rate": 1e-3, "loss": "sigmoid", "data": "a", "modules": ("q", "k")}


def save(root: Path, step: int, *, world: int = 1, keep: int = 2, best: int | None = None) -> Path:
    folder = begin_checkpoint(root, step)
    (folder / STATE).mkdir()
    (folder / STATE / "weights").write_bytes(bytes(100))
    rows = [{"step": step, "loss": 0.1}]
    finish_checkpoint(root, step, world=world, made_with=MADE_WITH, metrics=rows, keep=keep, best=best)
    return root / folder.name.removesuffix(".tmp")


def latest(root: Path) -> Checkpoint | None:
    return latest_checkpoint(root, world=1, made_with=MADE_WITH)


def latest_step(root: Path) -> int | None:
    checkpoint = latest(root)
    return None if checkpoint is None else checkpoint.step


def test_the_newest_comes_back_with_its_metrics(tmp_path: Path) -> None:
    save(tmp_path, 9)
    newest = save(tmp_path, 10)
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint == (newest, 10, [{"step": 10, "loss": 0.1}])


def test_none_before_the_first(tmp_path: Path) -> None:
    assert latest_step(tmp_path / "missing") is None


def test_a_save_that_was_cut_short_is_not_seen_and_done_again(tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder = begin_checkpoint(tmp_path, 2)
    (folder / "half").write_bytes(b"x")
    assert latest_step(tmp_path) == 1
    assert not (begin_checkpoint(tmp_path, 2) / "half").exists()
    save(tmp_path, 2)
    assert latest_step(tmp_path) == 2


def test_a_save_that_was_cut_short_takes_no_room_once_another_step_is_saved(tmp_path: Path) -> None:
    (begin_checkpoint(tmp_path, 4) / "half").write_bytes(b"x")
    save(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


@pytest.mark.parametrize("damage", ["missing file", "short file", "no marker"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    folder = save(tmp_path, 2)
    if damage == "missing file":
        (folder / STATE / "weights").unlink()
    elif damage == "short file":
        (folder / STATE / "weights").write_bytes(bytes(99))
    else:
        (folder / "complete.json").unlink()
    assert latest_step(tmp_path) == 1
    save(tmp_path, 2)  # a run that went on from step 1 comes past it
    assert latest_step(tmp_path) == 2


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10, 11):
        save(tmp_path, step, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000011"]
    save(tmp_path, 12, keep=1)
    assert latest_step(tmp_path) == 12


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 4, world=2)
    with pytest.raises(UserError, match=r"made by 2 processes and this run has 1; set train\.processes=2"):
        latest(tmp_path)


def test_the_best_one_is_kept_beside_them(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=1, best=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]
    assert checkpoint_of(tmp_path, 2, world=1, made_with=MADE_WITH) is None
    best = checkpoint_of(tmp_path, 1, world=1, made_with=MADE_WITH)
    assert best is not None
    assert best.step == 1


@pytest.mark.parametrize(("patience", "kept"), [(3, ["step-00000001", "step-00000003"]), (None, ["step-00000003"])])
def test_a_training_keeps_the_best_one_only_where_the_policy_may_be_its(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int | None, kept: list[str]
) -> None:
    """A checkpoint of a 7B model takes 91 GB or more; without early stopping the policy is the last step's."""
    monkeypatch.setattr(trainer, "barrier", lambda: None)
    half: Any = object.__new__(trainer.Trainer)
    half.job = SimpleNamespace(
        patience=patience, best_metric="eval_loss", keep_checkpoints=1, total_steps=3, made_with=MADE_WITH
    )
    half.engine = SimpleNamespace(save=lambda folder, name: (folder / name).mkdir())
    half.folder, half.checkpoints, half.metrics = tmp_path / "scratch", tmp_path / "checkpoints", []
    half.rank, half.world = 0, 1
    for half.step, loss in ((1, 0.4), (2, 0.5), (3, 0.6)):
        half.metrics.append({"step": half.step, "split": "validation", "eval_loss": loss})
        half._save_checkpoint()
    assert sorted(path.name for path in half.checkpoints.iterdir()) == kept


def test_another_configs_is_refused_with_the_difference(tmp_path: Path) -> None:
    save(tmp_path, 4)
    with pytest.raises(UserError, match=r"other settings or data: data was 'a' and is 'b'; peak_learning_rate was"):
        latest_checkpoint(tmp_path, world=1, made_with=MADE_WITH | {"data": "b", "peak_learning_rate": 2e-3})
    with pytest.raises(UserError, match="seed was None and is 1; put them back, or train anew"):
        latest_checkpoint(tmp_path, world=1, made_with=MADE_WITH | {"seed": 1})


def test_of_other_data_it_is_said_what_else_writes_other_bytes(tmp_path: Path) -> None:
    """A Parquet file names the version of pyarrow that wrote it: after an upgrade the same rows are another file."""
    save(tmp_path, 4)
    with pytest.raises(UserError, match="put them back, with the version of pyarrow that was installed then, or"):
        latest_checkpoint(tmp_path, world=1, made_with=MADE_WITH | {"data": "b"})


def test_the_marker_lists_every_file(tmp_path: Path) -> None:
    written = json.loads((save(tmp_path, 1) / "complete.json").read_text())
    assert list(written["record"]["files"]) == ["state/weights"]


@pytest.mark.parametrize("name", ["state/weights", "complete.json"])
def test_a_flipped_bit_is_seen_and_what_stands_on_it_goes_too(tmp_path: Path, name: str) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=4)
    path = tmp_path / "step-00000002" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    whole = tmp_path / "untouched"
    shutil.copytree(tmp_path, whole)
    assert drop_damaged(whole, lambda rows: None) == [2]
    assert latest_step(whole) == 4
    assert sorted(p.name for p in whole.iterdir()) == ["step-00000001", "step-00000003", "step-00000004"]
    # With early stopping, 3 will need the checkpoint of step 2, its best; 4 that of step 1, which is whole.
    assert drop_damaged(tmp_path, lambda rows: {3: 2, 4: 1}.get(rows[-1]["step"])) == [2, 3]
    assert latest_step(tmp_path) == 4
    assert drop_damaged(tmp_path, lambda rows: None) == []
