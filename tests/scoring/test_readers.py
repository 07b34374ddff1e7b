"""Readers beside a run: real processes that poll while the stage writes."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bdpo.artifacts.catalogue import CATALOGUE, query_catalogue
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.tiny_run import pair_rows, tiny_run, write_jsonl

_POLL = """
import json, sys, time
from pathlib import Path
from bdpo.artifacts.catalogue import query_catalogue
root, stop = Path(sys.argv[1]), Path(sys.argv[2])
waits, counts = [], set()
while not stop.exists():
    started = time.perf_counter()
    _, rows = query_catalogue(root, "select count(*), count(distinct artifact) from all_scored_pairs")
    waits.append(time.perf_counter() - started)
    counts.add(rows[0])
    if len(waits) == 1:
        print("in", flush=True)
    time.sleep(0.01)
print(json.dumps({"polls": len(waits), "median_s": sorted(waits)[len(waits) // 2], "counts": sorted(counts)}))
"""


def score(config: Path) -> None:
    pipeline = Pipeline(load_config(config), checks=GreatExpectationsChecks())
    pipeline.run_stage("ingest")
    pipeline.run_stage("score")


def test_four_readers_get_in_during_a_run(tmp_path: Path) -> None:
    config, root = tiny_run(tmp_path, 6), tmp_path / "artifacts"
    score(config)
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", _POLL, str(root), str(stop)]
    readers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "in\n"
        write_jsonl(tmp_path / "pairs.jsonl", pair_rows(40))
        score(config)
        query_catalogue(root, "select count(*) from scored_pairs")
        time.sleep(0.5)  # every reader polls once more
    finally:
        stop.touch()
        ends = [reader.communicate(timeout=60)[0] for reader in readers]
    for reader, end in zip(readers, ends, strict=True):
        assert reader.returncode == 0, "a reader met an error"
        seen: dict[str, Any] = json.loads(end)
        assert seen["polls"] > 2
        assert seen["median_s"] < 1
        # Either what was there before or all of what is there now, never a part.
        assert seen["counts"] == [[6, 1], [46, 2]]


def test_who_cannot_get_in_is_told_within_a_second_or_so(tmp_path: Path) -> None:
    hold = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    path = tmp_path / CATALOGUE
    duckdb.connect(str(path)).close()
    writer = subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(UserError, match="another process has held this DuckDB file for 1 second; close it there"):
            query_catalogue(tmp_path, "select 1")
        assert time.monotonic() - started < 5
    finally:
        writer.kill()
        writer.wait()
