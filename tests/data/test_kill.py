"""An ingest that is killed at any point leaves nothing that looks whole, and the next one is as if undisturbed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bdpo.artifacts.manifest import MANIFEST, Manifest, read_manifest
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from tests.paths import ROOT
from tests.rules_alone import RulesAlone
from tests.tiny_run import tiny_run

NUM_PAIRS = 300
SMALL = ("bdpo.data.prepare.BLOCK_ROWS", "bdpo.data.candidates.BATCH_ROWS")
"""Limits that are 100 here, so that three chunks are read and three row groups written."""
INGESTS = """
import os, signal, sys
from pathlib import Path
from pkgutil import resolve_name
import great_expectations, pandas
import bdpo.data.stage, data_checks.suites
from bdpo.config import load_config
from bdpo.models.loading import load_tokenizer
from bdpo.pipeline import Pipeline
from tests.rules_alone import RulesAlone

def put(name, value):
    owner, _, attribute = name.rpartition(".")
    setattr(resolve_name(owner), attribute, value)

def ingest(config, fatal, calls):
    inner = resolve_name(fatal)

    def struck(*arguments):
        nonlocal calls
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments)

    put(fatal, struck)
    Pipeline(load_config(config), checks=RulesAlone()).run_stage("ingest")

config, *small = sys.argv[1:]
load_tokenizer(Path(config).parent / "model")  # which imports torch
for limit in small:
    put(limit, 100)
for line in sys.stdin:
    fatal, calls = line.split()
    if (pid := os.fork()) == 0:
        try:
            ingest(config, fatal, int(calls))
        finally:
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Ingests that each strike themselves, one for each line of a function's name and the number of its fatal call.

They are forked before any thread is started, from a process that has imported what takes them seconds.
"""
POINTS = {
    "rows are checked": (
        "bdpo.data.stage.Candidates.resolve", 1, {".quarantine.parquet.tmp", "scratch/ingest/facts.parquet"}
    ),
    "duplicates are found": (
        "bdpo.data.stage.Quarantine.finish", 1, {".quarantine.parquet.tmp", "scratch/ingest/candidates.duckdb"}
    ),
    "pairs are written": (
        "bdpo.data.stage.SplitFiles.write", 2, {".pairs.parquet.tmp", "quarantine.parquet", "dataset/train.parquet"}
    ),
}  # fmt: skip
"""The function in which it is killed, at which call of it, and files that are there then."""


def ingest(config: Path) -> Manifest:
    Pipeline(load_config(config), checks=RulesAlone()).run_stage("ingest")
    (manifest,) = manifests(config)
    return manifest


def manifests(config: Path) -> list[Manifest]:
    folders = [path.parent for path in (config.parent / "artifacts" / "ingest").glob(f"*/{MANIFEST}")]
    return [manifest for manifest in map(read_manifest, folders) if manifest is not None]


def test_killed_at_every_point_it_ends_as_if_undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SMALL:
        monkeypatch.setattr(name, 100)
    for folder in ("undisturbed", "killed"):
        (tmp_path / folder).mkdir()
    undisturbed = ingest(tiny_run(tmp_path / "undisturbed", num_pairs=NUM_PAIRS))
    config = tiny_run(tmp_path / "killed", num_pairs=NUM_PAIRS)
    command = [sys.executable, "-c", INGESTS, str(config), *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for point, (fatal, calls, names) in POINTS.items():
            print(fatal, calls, file=process.stdin, flush=True)
            code = process.stdout.readline().strip()
            assert code == f"{-signal.SIGKILL}", f"it ended before it was killed while {point}"
            (partial,) = (config.parent / "artifacts" / "ingest").glob("*.partial")
            assert names <= {path.relative_to(partial).as_posix() for path in partial.rglob("*")}, point
            assert not (partial / "pairs.parquet").exists(), point
            assert manifests(config) == [], f"it looks whole, killed while {point}"
            planned = Pipeline(load_config(config), checks=RulesAlone()).plan()[0]
            assert planned.state != "cached", point
        process.stdin.close()
    last = ingest(config)
    assert last.content == undisturbed.content
    assert last.summary == undisturbed.summary
    assert set(last.files) >= {"pairs.parquet", "quarantine.parquet", "README.md", "dataset/train.parquet"}
    assert last.files == undisturbed.files
    assert not [n for n in last.files if n.startswith((".", "scratch"))]
