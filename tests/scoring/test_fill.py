"""What scoring tells while it goes on."""

from pathlib import Path

from tests.scoring.runs import Told, score, shards_in
from tests.tiny_run import tiny_run


def test_progress_moves_with_each_forward_pass(tmp_path: Path) -> None:
    told = Told()
    score(tiny_run(tmp_path, 20, score={"token_budget": 300, "shard_sequences": 1000}), progress=told)
    assert len(shards_in(tmp_path / "artifacts" / "cache" / "sequences")) == 1
    assert len(told.steps) > 4
    assert sum(told.steps) == told.total == 80
