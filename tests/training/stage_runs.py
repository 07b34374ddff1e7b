"""Trainings of a tiny model through the stage, in this process or in one that can be killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from bdpo.config import load_config
from bdpo.pipeline import Pipeline, StageResult
from bdpo.progress import Progress
from bdpo.training.stage import train as train_stage
from tests.paths import ROOT
from tests.rules_alone import RulesAlone

TRAIN = {"epochs": 8, "batch_size": 4, "eval_every": 8, "checkpoint_every": 4, "learning_rate": 5e-4}


def pipeline(config: Path, *overrides: str) -> Pipeline:
    return Pipeline(load_config(config, overrides), checks=RulesAlone())


def train_on(work: Pipeline, pairs: Path, workdir: Path, progress: Progress, *, scores: Path | None = None) -> None:
    """The stage by itself, on a folder with pairs and one with scores, whatever made them."""
    train_stage(
        settings=work.config.train,
        model=work.config.model,
        source=work.source,
        pairs=pairs,
        scores=scores,
        workdir=workdir,
        progress=progress,
    )


def train(config: Path, *overrides: str) -> StageResult:
    work = pipeline(config, *overrides)
    for stage in ("ingest", "score"):
        work.run_stage(stage)
    return work.run_stage("train")


def curve(result: StageResult) -> list[tuple[Any, ...]]:
    columns = pq.read_table(result.artifact / "metrics.parquet").to_pydict()
    return list(zip(*columns.values(), strict=True))


def metric(result: StageResult, name: str) -> list[float]:
    return [value for _, _, _, metric, value in curve(result) if metric == name]


def weights(result: StageResult) -> dict[str, torch.Tensor]:
    return load_file(result.artifact / "policy" / "model.safetensors")


def same(one: StageResult, other: StageResult) -> bool:
    return curve(one) == curve(other) and all(
        tensor.equal(weights(other)[name]) for name, tensor in weights(one).items()
    )


PARENT = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
Pipeline(load_config(sys.argv[1], sys.argv[2:]), checks=GreatExpectationsChecks()).run_stage("train")
"""


_PATIENCE_S = 500
"""A busy machine starts processes slowly; only a failing test waits so long."""


class Run:
    """A training in processes of its own, of which any can be killed."""

    def __init__(self, config: Path, *overrides: str, command: Sequence[str] | None = None) -> None:
        command = command or [sys.executable, "-c", PARENT, str(config), *overrides]
        self.errors = config.parent / "errors.txt"
        with self.errors.open("wb") as errors:
            self.parent = subprocess.Popen(command, cwd=ROOT, stderr=errors)
        self.artifacts = config.parent / "artifacts"
        self.tree: dict[str, psutil.Process] = {}

    @property
    def scratch(self) -> Path | None:
        return next(iter((self.artifacts / "train").glob("*.partial/scratch")), None)

    def steps(self) -> int:
        """Steps of the last whole row."""
        path = None if self.scratch is None else self.scratch / "metrics.jsonl"
        if path is None or not path.exists():
            return 0
        rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return rows[-1]["step"] if rows else 0

    def checkpoints(self, pattern: str) -> list[Path]:
        return [] if self.scratch is None else list((self.scratch / "checkpoints").glob(pattern))

    def wait_for(self, condition: Any, what: str) -> None:
        """Wait for something; the processes are found first, for looking takes longer than steps do."""
        self.until(self._find_all, "all processes")
        self.until(condition, what)

    def until(self, condition: Any, what: str) -> None:
        """Wait for something while the parent lives."""
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            assert self.parent.poll() is None, f"it ended before {what}"
            assert time.monotonic() < deadline, f"no {what}"
            time.sleep(0.002)

    def _find_all(self) -> bool:
        parent = psutil.Process(self.parent.pid)
        self.tree = {"parent": parent}
        for process in parent.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                command = " ".join(process.cmdline())
                if "bdpo.lifetime" in command:
                    continue  # the guard, which names what it guards
                for name in ("deepspeed.launcher.runner", "deepspeed.launcher.launch"):
                    if name in command:
                        self.tree[name.rpartition(".")[2]] = process
                if "bdpo.training.worker" in command and "deepspeed.launcher" not in command:
                    self.tree["worker"] = process
        return self.tree.keys() == {"parent", "runner", "launch", "worker"}

    def kill(self, who: str) -> None:
        """Kill one of the processes that `wait_for` found, then wait until none is left."""
        self.tree[who].send_signal(signal.SIGKILL)
        self.parent.wait(timeout=_PATIENCE_S)
        _, alive = psutil.wait_procs(list(self.tree.values()), timeout=_PATIENCE_S)
        assert not alive, f"{alive} outlived the kill of the {who}"
        # A worker that is near its end may be done before its launcher is missed.
        assert self.parent.returncode != 0 or who == "launch"
