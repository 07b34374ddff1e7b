"""What scoring tells while it goes on."""

from pathlib import Path

from bdpo.progress import Silent
from tests.scoring.runs import score, shards_in
from tests.tiny_run import tiny_run


class _Told(Silent):
    def __init__(self) -> None:
        self.total = 0
        self.steps: list[int] = []

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        self.total, self.steps = total, []

    def advance(self, pieces: int = 1, **figures: float) -> None:
        self.steps.append(pieces)


def _told(config: Path) -> _Told:
    told = _Told()
    score(config, progress=told)
    return told


def test_progress_moves_with_each_forward_pass(tmp_path: Path) -> None:
    told = _told(tiny_run(tmp_path, 20, score={"token_budget": 300, "shard_sequences": 1000}))
    assert len(shards_in(tmp_path / "artifacts" / "cache" / "sequences")) == 1
    assert len(told.steps) > 4
    assert sum(told.steps) == told.total == 80


def test_progress_of_several_processes_adds_up(tmp_path: Path) -> None:
    told = _told(tiny_run(tmp_path, 20, score={"shard_sequences": 8, "processes": 2}))
    assert sum(told.steps) == told.total == 80
