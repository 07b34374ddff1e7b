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
def test_it_says_once_what_it_computes_on_and_what_pairs_lose_for_their_length(
    tmp_path: Path, processes: int, where: str
) -> None:
    """One token a byte; with 40 for a prompt, 40 are left for responses of 21, 33, 45, 57 and 29, 36, 43, 29."""
    limits = {"max_prompt_length": 40, "max_length": 80}
    cut = (
        "score: 4 of 4 prompts lose their beginning (model.max_prompt_length=40), 3 of 8 responses their end "
        "(model.max_length=80)"
    )
    config = tiny_run(tmp_path, 4, model=limits, score={"processes": processes})
    for said, times in ((Said(), 1), (Said(), 0)):  # the second time all is there
        _, summary = score(config, progress=said)
        assert [said.texts.count(where), said.texts.count(cut)] == [times, times]
        assert (summary["prompts_cut"], summary["responses_cut"]) == (4, 3)
