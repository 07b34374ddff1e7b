"""Of killed trainings no shared memory stays; that of living ones does."""

import mmap
import os
from pathlib import Path

import pytest

from bdpo.training.shared_memory import unlink_orphans, unlink_own


def test_what_nobody_has_mapped_goes_and_the_rest_stays(tmp_path: Path) -> None:
    dead, living, foreign = (
        tmp_path / f"deepspeed_allreduce_buffer_{uid}_127.0.0.1_29500_{rank}"
        for uid, rank in ((os.getuid(), 0), (os.getuid(), 1), (os.getuid() + 1, 0))
    )
    for path in (dead, living, foreign):
        path.write_bytes(bytes(mmap.PAGESIZE))
        os.utime(path, (0, 0))
    (tmp_path / f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_29501_0").touch()  # in the making
    with living.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        assert unlink_orphans(tmp_path) == [dead.name]
        assert sorted(tmp_path.iterdir()) == sorted([living, foreign, *tmp_path.glob("*_29501_0")])
    assert unlink_orphans(tmp_path) == [living.name]


def test_a_process_unlinks_its_own_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, others = (tmp_path / f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_29500_{rank}" for rank in (1, 0))
    for path in (mine, others):
        path.touch()
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("RANK", "1")
    unlink_own(tmp_path)
    assert list(tmp_path.iterdir()) == [others]
