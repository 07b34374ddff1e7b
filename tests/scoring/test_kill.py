"""Scoring beside kills and readers: what a kill leaves behind is carried on, and readers get in."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdpo.artifacts.digest import digest_file
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.scoring.runs import made, score, scores, shards_in
from tests.tiny_run import pair_rows, tiny_run, write_jsonl

_SCORE = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
pipeline = Pipeline(load_config(sys.argv[1]), checks=GreatExpectationsChecks())
pipeline.run_stage("ingest")
pipeline.run_stage("score")
"""


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_in_the_middle_it_ends_in_the_same_rows(tmp_path: Path, compiled: bool) -> None:
    small, model = {"token_budget": 300, "shard_sequences": 4}, {"compile": compiled}
    undisturbed, _ = score(tiny_run(made(tmp_path / "a"), 60, score=small, model=model))
    config = tiny_run(made(tmp_path / "b"), 60, score=small, model=model)
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
    planned = Pipeline(load_config(config), checks=GreatExpectationsChecks()).plan()[1]
    assert (planned.stage, planned.state) == ("score", "partial")
    assert re.fullmatch(r"\d+ of 240 sequences done", planned.reasons[0])
    folder, summary = score(config)
    assert summary["sequences_reused"] >= 4 * (kept - 1) > 0
    assert summary["sequences_scored"] > 0, "it was killed too late to show anything"
    assert scores(folder) == scores(undisturbed)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_in_the_same_rows(tmp_path: Path) -> None:
    """At random moments: some while it starts, some while it scores, some while it writes a shard."""
    small = {"token_budget": 300, "shard_sequences": 4}
    undisturbed, _ = score(tiny_run(made(tmp_path / "a"), 400, score=small))
    config = tiny_run(made(tmp_path / "b"), 400, score=small)
    cache = tmp_path / "b" / "artifacts" / "cache" / "sequences"
    moments = random.Random(0)
    kept: set[str] = set()
    scoring = 0
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", _SCORE, str(config)], cwd=ROOT)
        wanted = len(kept) + moments.randrange(3)
        deadline = time.monotonic() + 120
        while len(shards_in(cache)) < wanted:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(moments.random() * 0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        whole = {path.stem for path in shards_in(cache) if path.stem == digest_file(path)}
        assert kept <= whole, "a shard that was there is gone"
        scoring += len(whole) > len(kept)
        kept = whole
    assert scoring >= 5, "it was hardly ever killed while it scored"
    folder, summary = score(config)
    assert summary["sequences_reused"] >= 4 * len(kept)
    assert summary["sequences_scored"] > 0, "nothing was left to score"
    assert scores(folder) == scores(undisturbed)


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
