"""An ingest that is killed at any point leaves nothing that looks whole, and the next one is as if undisturbed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdpo.artifacts.manifest import MANIFEST, Manifest, read_manifest
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.tiny_run import tiny_run

NUM_PAIRS = 9_000  # two chunks: long enough to be met at work
INGEST = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
Pipeline(load_config(sys.argv[1]), checks=GreatExpectationsChecks()).run_stage("ingest")
"""
POINTS = {
    "rows are checked": ("scratch/ingest/facts.parquet", ".quarantine.parquet.tmp"),
    "duplicates are found": ("scratch/ingest/candidates.duckdb",),
    "pairs are written": (".pairs.parquet.tmp",),
}


def begin(config: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", INGEST, str(config)], env={**os.environ, "PYTHONPATH": str(ROOT)})


def ingest(config: Path) -> Manifest:
    Pipeline(load_config(config), checks=GreatExpectationsChecks()).run_stage("ingest")
    (manifest,) = manifests(config)
    return manifest


def manifests(config: Path) -> list[Manifest]:
    folders = [path.parent for path in (config.parent / "artifacts" / "ingest").glob(f"*/{MANIFEST}")]
    return [manifest for manifest in map(read_manifest, folders) if manifest is not None]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("killed"), num_pairs=NUM_PAIRS)


def test_killed_at_every_point_it_ends_as_if_undisturbed(
    config: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    undisturbed = ingest(tiny_run(tmp_path_factory.mktemp("undisturbed"), num_pairs=NUM_PAIRS))
    for point, names in POINTS.items():
        process = begin(config)
        try:
            wait_for(process, config.parent / "artifacts" / "ingest", names)
        finally:
            process.send_signal(signal.SIGKILL)
            code = process.wait()
        assert code == -signal.SIGKILL, f"it ended before it was killed while {point}"
        assert manifests(config) == [], f"it looks whole, killed while {point}"
        planned = Pipeline(load_config(config), checks=GreatExpectationsChecks()).plan()[0]
        assert planned.state != "cached", point
    last = ingest(config)
    assert last.content == undisturbed.content
    assert last.summary == undisturbed.summary
    assert set(last.files) >= {"pairs.parquet", "quarantine.parquet", "README.md", "dataset/train.parquet"}
    assert {n: e for n, e in last.files.items() if "data_docs" not in n} == {
        n: e for n, e in undisturbed.files.items() if "data_docs" not in n
    }
    assert not [n for n in last.files if n.startswith((".", "scratch"))]


def wait_for(process: "subprocess.Popen[bytes]", folder: Path, names: tuple[str, ...]) -> None:
    """Wait until files of this attempt are there; an earlier one's are older than it."""
    begun = time.time()
    while process.poll() is None:
        if all(any(made_since(path, begun) for path in folder.glob(f"*.partial/{name}")) for name in names):
            return
        time.sleep(0.002)


def made_since(path: Path, begun: float) -> bool:
    try:
        return path.stat().st_mtime >= begun
    except FileNotFoundError:
        return False
