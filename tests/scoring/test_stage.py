"""Scoring: what is stored, what is never done twice, and what a kill leaves behind."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from bdpo.artifacts.digest import digest_file
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.layout import Batch
from bdpo.logprobs import response_logps
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.tiny import CHATML, tiny_model, tiny_tokenizer
from tests.tiny_run import pair_rows, tiny_run, write_jsonl


def score(config: Path, *overrides: str) -> tuple[Path, dict[str, Any]]:
    pipeline = Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())
    pipeline.run_stage("ingest")
    result = pipeline.run_stage("score")
    return result.artifact, result.summary


def scores(folder: Path) -> dict[str, Mapping[str, Any]]:
    return {row["pair_id"]: row for row in pq.read_table(folder / "scored_pairs.parquet").to_pylist()}


def test_scores_are_the_models_own(tmp_path: Path) -> None:
    folder, _ = score(tiny_run(tmp_path, 6))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = tiny_tokenizer()

    def logp(prompt: str, response: str) -> float:
        start = tokenizer(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        answer = tokenizer(f"{response}<|im_end|>")["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1].double()
        return float(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum())

    for row in scores(folder).values():
        prompt = row["prompt"][0]["content"]
        for side in ("chosen", "rejected"):
            tokens = len(row[side].encode()) + 1
            assert row[f"{side}_tokens"] == tokens
            assert row[f"ref_{side}_logps"] == pytest.approx(logp(prompt, row[side]), abs=1e-5 * tokens)
            assert row[f"null_{side}_logps"] == pytest.approx(logp("", row[side]), abs=1e-5 * tokens)
            mi = (row[f"ref_{side}_logps"] - row[f"null_{side}_logps"]) / tokens
            assert row[f"mi_{side}"] == pytest.approx(mi, rel=1e-12)
        assert row["imbalance"] == row["mi_chosen"] - row["mi_rejected"]


def test_the_store_can_be_queried_without_its_keys(tmp_path: Path) -> None:
    folder, summary = score(tiny_run(tmp_path, 6))
    with duckdb.connect(str(folder / "scores.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select count(*), max(abs(scale * (weight_chosen + weight_rejected) - 2)) < 1e-12 from scored_pairs"
        ).fetchall()
        tokens = connection.execute(
            "select bool_and(len(logps) = n_tokens and abs(list_sum(logps) - logp_sum) < 1e-3), count(*) from sequences"
        ).fetchall()
    assert rows == [(6, True)]
    assert tokens == [(True, summary["sequences"])]


def test_what_changes_a_score_is_noticed_and_what_does_not_is_not(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 8)
    _, first = score(config)
    assert (first["sequences"], first["sequences_reused"]) == (32, 0)
    # Another size of shard makes another artifact out of the same scores.
    _, again = score(config, "score.shard_sequences=8", "train.beta=0.3")
    assert (again["sequences_scored"], again["tokens_scored"]) == (0, 0)
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(10))
    _, more = score(config)
    assert (more["sequences_scored"], more["sequences_reused"]) == (8, 32)
    tiny_model(seed=1).save_pretrained(tmp_path / "model")
    _, other = score(config)
    assert other["sequences_scored"] == 40


def test_only_new_tokens_go_through_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where they enter the decoder, the trial of the layout left out."""
    pushed: list[int] = []

    def counting(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        pushed.append(len(batch.targets))
        return response_logps(model, batch)

    monkeypatch.setattr("bdpo.logprobs.score.response_logps", counting)
    config = tiny_run(tmp_path, 20)
    _, first = score(config)
    assert sum(pushed) == first["tokens_scored"] > 0
    pushed.clear()
    score(config, "score.shard_sequences=8")
    assert not pushed
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(22))
    _, more = score(config)
    assert sum(pushed) == more["tokens_scored"]
    assert 0.05 < sum(pushed) / first["tokens_scored"] < 0.15, "10% more pairs cost about 10%"


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ("template", True),
        ("tokenizer", True),
        ("model.dtype=bfloat16", True),
        ("model.attention=eager", True),
        ("model.max_length=200", True),
        ("model.max_prompt_length=20", True),
        ("train.beta=0.3", False),
        ("train.learning_rate=0.1", False),
        ("train.balance=softmax", False),
    ],
)
def test_the_artifact_is_named_by_what_it_depends_on(tmp_path: Path, change: str, noticed: bool) -> None:
    """A stale artifact is never taken, and what only training reads makes none stale."""
    config = tiny_run(tmp_path, 2)
    before = _plan(config)
    overrides = []
    if change == "template":
        tiny_tokenizer(CHATML.replace("user", "person").replace("\n", " ")).save_pretrained(tmp_path / "model")
    elif change == "tokenizer":
        file = tmp_path / "model" / "tokenizer.json"
        file.write_text(file.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true'))
    else:
        overrides.append(change)
    assert (_plan(config, *overrides) != before) is noticed


def _plan(config: Path, *overrides: str) -> str:
    pipeline = Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())
    return pipeline.fingerprints["score"]


@pytest.mark.parametrize("change", ["model.dtype=bfloat16", "model.attention=eager", "model.max_prompt_length=30"])
def test_a_change_that_reaches_the_scores_scores_again(tmp_path: Path, change: str) -> None:
    config = tiny_run(tmp_path, 6)
    _, first = score(config)
    _, again = score(config, change)
    assert again["sequences_scored"] > 0
    if change.startswith("model.max_prompt_length"):
        assert again["sequences_reused"] == first["sequences"] // 2, "the unconditional half is the same"
    else:
        assert again["sequences_reused"] == 0


def test_two_processes_give_the_rows_of_one_and_what_is_scored_stays(tmp_path: Path) -> None:
    """Passes of 300 tokens, dealt out; then again with one process, which finds nothing to do."""
    small = {"token_budget": 300, "shard_sequences": 8}
    alone, _ = score(tiny_run(_new(tmp_path / "a"), 30, score=small))
    config = tiny_run(_new(tmp_path / "b"), 30, score=small | {"processes": 2})
    shared, summary = score(config)
    assert summary["sequences_scored"] == summary["sequences"] > 0
    assert len({path.stat().st_ino for path in _shards(tmp_path / "b" / "artifacts" / "cache" / "sequences")}) > 2
    for pair_id, row in scores(alone).items():
        for name, value in scores(shared)[pair_id].items():
            assert value == (pytest.approx(row[name], abs=1e-4) if isinstance(value, float) else row[name])
    shutil.rmtree(shared)
    _, again = score(config, "score.processes=1")
    assert again["sequences_scored"] == 0


def test_a_damaged_shard_is_scored_again(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 8)
    folder, _ = score(config)
    before = scores(folder)
    shard = sorted((tmp_path / "artifacts" / "cache").rglob("*.parquet"))[0]
    shard.write_bytes(shard.read_bytes()[:-40])
    shutil.rmtree(folder)
    folder, summary = score(config)
    assert 0 < summary["sequences_scored"] < 32
    assert scores(folder) == before


@pytest.mark.parametrize("processes", [1, 2])
def test_a_number_that_is_none_stops_in_one_sentence(tmp_path: Path, processes: int) -> None:
    config = tiny_run(tmp_path, 3, score={"processes": processes})
    model = tiny_model()
    with torch.no_grad():
        model.get_output_embeddings().weight[10] = float("nan")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"layout|differ|log-prob"):
        score(config)
    assert not list((tmp_path / "artifacts" / "score").glob("*/manifest.json"))


_SCORE = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
pipeline = Pipeline(load_config(sys.argv[1]), checks=GreatExpectationsChecks())
pipeline.run_stage("ingest")
pipeline.run_stage("score")
"""


def test_killed_in_the_middle_it_ends_in_the_same_rows(tmp_path: Path) -> None:
    small = {"token_budget": 300, "shard_sequences": 4}
    undisturbed, _ = score(tiny_run(_new(tmp_path / "a"), 60, score=small))
    config = tiny_run(_new(tmp_path / "b"), 60, score=small)
    cache = tmp_path / "b" / "artifacts" / "cache" / "sequences"
    process = subprocess.Popen([sys.executable, "-c", _SCORE, str(config)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while len(list(cache.glob("*/*.parquet"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(cache.glob("*/*.parquet")))
    folder, summary = score(config)
    assert summary["sequences_reused"] >= 4 * (kept - 1) > 0
    assert summary["sequences_scored"] > 0, "it was killed too late to show anything"
    assert scores(folder) == scores(undisturbed)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_in_the_same_rows(tmp_path: Path) -> None:
    """At random moments: some while it starts, some while it scores, some while it writes a shard."""
    small = {"token_budget": 300, "shard_sequences": 4}
    undisturbed, _ = score(tiny_run(_new(tmp_path / "a"), 400, score=small))
    config = tiny_run(_new(tmp_path / "b"), 400, score=small)
    cache = tmp_path / "b" / "artifacts" / "cache" / "sequences"
    moments = random.Random(0)
    kept: set[str] = set()
    scoring = 0
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", _SCORE, str(config)], cwd=ROOT)
        wanted = len(kept) + moments.randrange(3)
        deadline = time.monotonic() + 120
        while len(_shards(cache)) < wanted:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(moments.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        whole = {path.stem for path in _shards(cache) if path.stem == digest_file(path)}
        assert kept <= whole, "a shard that was there is gone"
        scoring += len(whole) > len(kept)
        kept = whole
    assert scoring >= 5, "it was hardly ever killed while it scored"
    folder, summary = score(config)
    assert summary["sequences_reused"] >= 4 * len(kept)
    assert summary["sequences_scored"] > 0, "nothing was left to score"
    assert scores(folder) == scores(undisturbed)


def _shards(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*/*.parquet") if not path.name.startswith("new-")]


_POLL = """
import json, sys, time
from pathlib import Path
from bdpo.artifacts.catalogue import query_catalogue
root, stop, result = map(Path, sys.argv[1:])
seen, slowest = [], 0.0
while not stop.exists():
    started = time.monotonic()
    _, rows = query_catalogue(root, "select count(*), count(mi_chosen) from all_scored_pairs")
    slowest = max(slowest, time.monotonic() - started)
    seen.append(rows[0])
    time.sleep(0.02)
result.write_text(json.dumps({"seen": seen, "slowest": slowest}))
"""


@pytest.mark.slow
def test_four_readers_get_in_beside_a_writer(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, 8)
    score(config)
    stop = tmp_path / "stop"
    results = [tmp_path / f"reader{i}.json" for i in range(4)]
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", _POLL, str(tmp_path / "artifacts"), str(stop), str(result)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        for result in results
    ]
    for number in (16, 24, 32, 40):
        write_jsonl(tmp_path / "pairs.jsonl", pair_rows(number))
        score(config)
        time.sleep(0.5)
    stop.touch()
    for reader, result in zip(readers, results, strict=True):
        _, errors = reader.communicate(timeout=60)
        assert reader.returncode == 0, errors.decode()
        found = json.loads(result.read_text())
        counts = [count for count, _ in found["seen"]]
        assert counts == sorted(counts), "a reader saw an older catalogue after a newer one"
        assert set(counts) <= {8, 24, 48, 80, 120}, "the artifacts so far: 8 pairs, and 16, 24, 32, 40"
        assert counts[-1] == 120
        assert len(set(counts)) > 2, "it did not read while the writer wrote"
        assert all(count == scored for count, scored in found["seen"])
        assert found["slowest"] < 1, f"a read took {found['slowest']:.2f} s"


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
