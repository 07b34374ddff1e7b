"""Checkpoints: whole or not there, and never the last one gone."""

import json
from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.training.checkpoints import STATE, begin_checkpoint, finish_checkpoint, latest_checkpoint


def save(root: Path, step: int, *, world: int = 1, keep: int = 2) -> Path:
    folder = begin_checkpoint(root, step)
    (folder / STATE).mkdir()
    (folder / STATE / "weights").write_bytes(bytes(100))
    finish_checkpoint(root, step, world=world, metrics=[{"step": step, "loss": 0.1}], keep=keep)
    return root / folder.name.removesuffix(".tmp")


def latest_step(root: Path) -> int | None:
    checkpoint = latest_checkpoint(root, world=1)
    return None if checkpoint is None else checkpoint.step


def test_the_newest_comes_back_with_its_metrics(tmp_path: Path) -> None:
    save(tmp_path, 9)
    newest = save(tmp_path, 10)
    checkpoint = latest_checkpoint(tmp_path, world=1)
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


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10, 11):
        save(tmp_path, step, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000011"]
    save(tmp_path, 12, keep=1)
    assert latest_step(tmp_path) == 12


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 4, world=2)
    with pytest.raises(UserError, match=r"made by 2 processes and train\.processes is 1"):
        latest_checkpoint(tmp_path, world=1)


def test_the_marker_lists_every_file(tmp_path: Path) -> None:
    record = json.loads((save(tmp_path, 1) / "complete.json").read_text())
    assert list(record["files"]) == ["state/weights"]
