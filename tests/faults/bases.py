"""The folders that faults begin with: before each stage, after all, and with a stage half done."""

import json
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import yaml

from bdpo.fingerprints import STAGES, Stage
from tests.faults.subject import PATIENCE_S, fork, start
from tests.faults.trial import DONE, Changes, Scale
from tests.tiny_run import pair_rows, tiny_run, write_jsonl

NUM_FILES = 12
"""Of raw rows: more than ingestion does by itself, so that its worker processes have work."""
HALF = {"score": 2, "train": 2, "evaluate": 1}
"""Shards, checkpoints or pieces of held-out pairs at which a half-done stage was killed."""
_PIECES = {
    "score": "cache/sequences/*/*.parquet",
    "train": "train/*.partial/scratch/checkpoints/step-*/complete.json",
    "evaluate": "evaluate/*.partial/scratch/held_out/*/*.parquet",
}


def make_bases(work: Path) -> dict[str, Scale]:
    """Make them, once; how much each stage does."""
    scales = work / "scales.json"
    if scales.exists():
        return {stage: Scale(**values) for stage, values in json.loads(scales.read_text()).items()}
    shutil.rmtree(work / "bases", ignore_errors=True)
    here = work / "bases" / STAGES[0]
    run = fork(lambda: _write(here), work / "write.log")
    assert run.wait().means == "completed", run.log.read_text()
    found: dict[str, Scale] = {}
    for stage, following in zip(STAGES, (*STAGES[1:], DONE), strict=True):
        there = work / "bases" / following
        shutil.copytree(here, there)
        found[stage] = _do(there, stage)
        if stage in HALF:
            _half(here, work / "bases" / f"{stage}-half", stage)
        here = there
    scales.write_text(json.dumps({stage: asdict(scale) for stage, scale in found.items()}))
    return found


def _write(folder: Path) -> None:
    folder.mkdir(parents=True)
    train = {"epochs": 2, "batch_size": 4, "eval_every": 4, "checkpoint_every": 2, "learning_rate": 5e-4}
    config = tiny_run(folder, train=train | {"keep_checkpoints": 2}, score={"shard_sequences": 8})
    (folder / "pairs.jsonl").unlink()
    (folder / "pairs").mkdir()
    rows = pair_rows(40)
    rows[3] |= {"chosen": ""}  # so that something is in quarantine
    for number in range(NUM_FILES):
        write_jsonl(folder / "pairs" / f"{number:02d}.jsonl", rows[number::NUM_FILES])
    settings = yaml.safe_load(config.read_text())
    settings["ingest"]["sources"] = [{"path": "pairs"}]
    config.write_text(yaml.safe_dump(settings))
    (folder / "artifacts").mkdir()


def _do(folder: Path, stage: Stage) -> Scale:
    """Do a stage undisturbed, and watch how much it does."""
    root = folder / "artifacts"
    changes = Changes(root)
    before = changes.total
    largest = before
    run = start(folder / "config.yaml", (stage,))
    while not run.poll():
        changes.look()
        largest = max(largest, changes.total)
    ended = run.wait(PATIENCE_S)
    assert ended.means == "completed", f"the undisturbed {stage}: {ended}"
    return Scale(changes.count, largest - before)


def _half(before: Path, folder: Path, stage: Stage) -> None:
    """Kill a stage when some of its pieces are committed."""
    shutil.copytree(before, folder)
    pieces = folder / "artifacts"
    run = start(folder / "config.yaml", (stage,))
    while len(list(pieces.glob(_PIECES[stage]))) < HALF[stage]:
        assert not run.poll(), f"{stage} ended before it was half done: {run.wait()}"
    run.note_children()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not run.survivors(PATIENCE_S)
