"""What scoring tells while it goes on."""

from pathlib import Path

import pytest

from tests.said import Said
from tests.scoring.runs import Told, score, shards_in
from tests.tiny_run import tiny_run


def test_progress_moves_with_each_forward_pass(tmp_path: Path) -> None:
    told = Told()
    score(tiny_run(tmp_path, 20, score={"token_budget": 300, "shard_sequences": 1000}), progress=told)
    assert len(shards_in(tmp_path / "artifacts" / "cache" / "sequences")) == 1
    assert len(told.steps) > 4
    assert sum(told.steps) == told.total == 80


@pytest.mark.parametrize(
    ("processes", "where"), [(1, "score: the model is on the CPU"), (2, "score: 2 processes, on the CPU")]
)
def test_it_says_once_what_it_computes_on(tmp_path: Path, processes: int, where: str) -> None:
    config = tiny_run(tmp_path, 4, score={"processes": processes})
    for said, times in ((Said(), 1), (Said(), 0)):  # the second time all is there
        score(config, progress=said)
        assert said.texts.count(where) == times
