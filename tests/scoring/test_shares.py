"""Scoring by several machines: every sequence is somebody's, and what comes of it is what one machine gives."""

import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.pipeline import Pipeline
from bdpo.scoring.sequences import TokenSequence
from bdpo.scoring.shares import Share
from tests.paths import ROOT
from tests.rules_alone import RulesAlone
from tests.tiny_run import pair_rows, tiny_run, write_jsonl

NULL = (9,)
IDS = st.lists(st.integers(0, 300), min_size=1, max_size=4).map(tuple)
SEQUENCES = st.dictionaries(
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.builds(TokenSequence, st.one_of(st.just(NULL), IDS), IDS),
    max_size=20,
)


@given(SEQUENCES, SEQUENCES, st.integers(1, 5))
def test_each_sequence_is_in_one_share_whatever_else_there_is(
    sequences: dict[str, TokenSequence], more: dict[str, TokenSequence], of: int
) -> None:
    shares = [Share(number, of).take(sequences, NULL) for number in range(1, of + 1)]
    assert sorted(key for share in shares for key in share) == sorted(sequences)
    grown = [Share(number, of).take(more | sequences, NULL) for number in range(1, of + 1)]
    assert all(share.keys() <= larger.keys() for share, larger in zip(shares, grown, strict=True))
    owners = {sequences[key].prompt_ids: number for number, share in enumerate(shares) for key in share}
    for number, share in enumerate(shares):
        assert all(s.prompt_ids == NULL or owners[s.prompt_ids] == number for s in share.values())


def test_shares_are_of_like_size() -> None:
    """A thousand responses to a thousand prompts, with and without them."""
    sequences = {f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}": TokenSequence((i,), (i,)) for i in range(1000)}
    sequences |= {f"{i * 0xC2B2AE3D27D4EB4F % 2**64:016x}": TokenSequence(NULL, (i,)) for i in range(1, 1001)}
    sizes = [len(Share(number, 4).take(sequences, NULL)) for number in range(1, 5)]
    assert sum(sizes) == len(sequences)
    assert all(abs(size - 500) < 100 for size in sizes)


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "2/", "1/0", "-1/2", "a/b", "1/2/3", "²/4", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is no share: 2/4 is the second of four\."):
        Share.parse(text)


def machine(config: Path, artifacts: Path, *overrides: str) -> Pipeline:
    settings = [f"artifacts={artifacts}", *overrides]
    return Pipeline(load_config(config, settings), checks=RulesAlone())


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "scored_pairs.parquet").to_pylist()
    return found


def test_machines_share_the_work_through_the_remote_store(memory: Any, tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 12)
    alone = machine(config, tmp_path / "alone")
    alone.run_stage("ingest")
    expected = alone.run_stage("score")

    remote = "remote_artifacts=memory://bucket/runs"
    machine(config, tmp_path / "first", remote).run_stage("ingest")
    counts = [machine(config, tmp_path / f"of-{i}", remote).score_share(f"{i}/3") for i in (1, 2, 3)]
    assert sum(count["sequences"] for count in counts) == expected.summary["sequences"]
    assert all(0 < count["sequences_scored"] == count["sequences"] for count in counts)
    again = machine(config, tmp_path / "anew", remote).score_share("2/3")
    assert (again["sequences_scored"], again["sequences_reused"]) == (0, counts[1]["sequences"])

    gathered = machine(config, tmp_path / "last", remote).run_stage("score")
    assert (gathered.cached, gathered.summary["sequences_scored"]) == (False, 0)
    for one, other in zip(rows(expected.artifact), rows(gathered.artifact), strict=True):
        for name, value in one.items():
            assert other[name] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value)


def test_a_killed_machine_without_a_disk_goes_on_from_its_shards(memory: Any, tmp_path: Path) -> None:
    """Only the remote store is left of it."""
    config = tiny_run(tmp_path, 12)
    remote = f"remote_artifacts=file://{tmp_path / 'remote'}"
    machine(config, tmp_path / "first", remote).run_stage("ingest")
    machine(config, tmp_path / "first", remote).score_share("1/2")
    fresh = machine(config, tmp_path / "second", remote).run_stage("score")
    summary = fresh.summary
    assert 0 < summary["sequences_reused"] < summary["sequences"]
    assert summary["sequences_scored"] + summary["sequences_reused"] == summary["sequences"]


def test_forced_scores_take_the_place_of_those_in_the_remote_store(memory: Any, tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 6)
    remote = "remote_artifacts=memory://bucket/runs"
    one = machine(config, tmp_path / "one", remote)
    one.run_stage("ingest")
    one.score_share("1/1")
    other = machine(config, tmp_path / "other", remote)
    other.run_stage("ingest")
    forced = other.run_stage("score", force=True)
    assert forced.summary["sequences_reused"] == 0
    shards = [memory.cat(name) for name in memory.find("/bucket/runs/cache") if name.endswith(".parquet")]
    keys = [key for shard in shards for key in pq.read_table(BytesIO(shard))["key"].to_pylist()]
    assert len(keys) == len(set(keys)) == forced.summary["sequences"]


def test_what_two_machines_both_scored_stands_once_in_the_store(memory: Any, tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 8)
    remote = "remote_artifacts=memory://bucket/runs"
    for name, pairs in (("one", 8), ("other", 10)):
        # They neither saw each other's shards nor made the same ones.
        write_jsonl(tmp_path / "pairs.jsonl", pair_rows(pairs))
        own = machine(config, tmp_path / name)
        own.run_stage("ingest")
        own.run_stage("score")
    third = machine(config, tmp_path / "one", remote)
    third.run_stage("ingest")
    third.score_share("1/1")
    both = machine(config, tmp_path / "other", remote, "score.shard_sequences=8")
    both.run_stage("ingest")
    # The first machine's shards come to the second where it lacks something.
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(11))
    grown = machine(config, tmp_path / "other", remote)
    grown.run_stage("ingest")
    result = grown.run_stage("score")
    assert result.summary["sequences_scored"] == 4
    assert len(rows(result.artifact)) == 11


_SHARE = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
config, artifacts, share = sys.argv[1:]
pipeline = Pipeline(load_config(config, [f"artifacts={artifacts}"]), checks=GreatExpectationsChecks())
pipeline.score_share(share)
"""


@pytest.mark.slow
def test_shares_in_one_folder_run_beside_each_other_and_one_is_killed(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 40, score={"token_budget": 64, "shard_sequences": 4})
    machine(config, tmp_path / "artifacts").run_stage("ingest")
    command = [sys.executable, "-c", _SHARE, str(config), str(tmp_path / "artifacts")]
    children = [subprocess.Popen([*command, f"{i}/3"], cwd=ROOT, start_new_session=True) for i in (1, 2, 3)]
    while not list((tmp_path / "artifacts" / "cache" / "sequences").glob("*/*.parquet")):
        assert any(child.poll() is None for child in children)
    os.killpg(children[0].pid, signal.SIGKILL)
    assert [child.wait() for child in children][1:] == [0, 0]
    gathered = machine(config, tmp_path / "artifacts").run_stage("score")
    assert gathered.summary["sequences_reused"] > 0
    assert len(rows(gathered.artifact)) == 40
