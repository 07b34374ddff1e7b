"""Scoring by several processes: each does its share of the forward passes and writes its own shards.

The share of a process is every n-th pass of those that one process would do, so the
rows are the same however many processes there are.  This module is the parent's side;
`bdpo.scoring.worker` is a child's.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import TypeAdapter

from bdpo.artifacts.disk import full_disk_error
from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import write_atomically
from bdpo.config import ModelSettings
from bdpo.errors import ProcessFailed, UserError
from bdpo.lifetime import child_groups, guarded
from bdpo.models.allocator import wants_memory
from bdpo.models.gpus import count_gpus
from bdpo.models.source import ModelSource
from bdpo.scoring.sequences import TokenSequence

_PERIOD_S = 0.2
_TAIL_LINES = 15
SEQUENCES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("response_ids", pa.list_(pa.int32()), nullable=False),
    ]
)
"""What is to be scored."""


@dataclass(frozen=True, kw_only=True)
class ScoreJob:
    """What a scoring process is told."""

    sequences: Path
    """Parquet file of SEQUENCES."""
    shards: Path
    """Folder of the scorer's shards."""
    source: ModelSource
    """The reference model."""
    model: ModelSettings
    token_budget: int
    shard_sequences: int
    processes: int

    @classmethod
    def read(cls, path: Path) -> "ScoreJob":
        """Load what the parent wrote."""
        return TypeAdapter(cls).validate_json(path.read_bytes())

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_atomically(path, TypeAdapter(type(self)).dump_json(self).decode())


class Done(NamedTuple):
    """How many sequences a process has come to."""

    scored: int = 0
    kept: int = 0
    """In shards."""

    def write(self, folder: Path, number: int) -> None:
        """Note it beside the job, for the parent."""
        write_atomically(_progress_file(folder, number), json.dumps(self))

    @classmethod
    def read(cls, folder: Path, number: int) -> "Done":
        """What the process has noted last."""
        path = _progress_file(folder, number)
        return cls(*json.loads(path.read_text(encoding="utf-8"))) if path.exists() else cls()


class BadLogprob(ArithmeticError):  # noqa: N818 (named for what was found)
    """A process met a log-prob that is none, `value`, in the sequence `key`."""

    def __init__(self, key: str, value: float) -> None:
        super().__init__(f"a log-prob of {value}")
        self.key = key
        self.value = value


def score_in_processes(
    missing: Mapping[str, TokenSequence],
    job: ScoreJob,
    folder: Path,
    *,
    scored: Callable[[int], None],
    kept: Callable[[int], None],
) -> list[str]:
    """Score sequences in several processes, and wait for all of them.

    Args:
        missing: what is to be scored; it is written to the job's `sequences`.
        job: how.
        folder: an empty place for results and logs.
        scored: called now and then with the number of sequences that went through the model.
        kept: called with the number of sequences that were written.

    Returns:
        What the processes had to say, each line once.

    Raises:
        BadLogprob: the model gives a log-prob that is none.
        UserError: there are too few GPUs, torch cannot use them, or a process was killed or stopped for something
            the user can put right.
        ProcessFailed: a process failed otherwise; the message ends with its log's last lines.
    """
    processes = job.processes
    gpus = count_gpus()
    if 0 < gpus < processes:
        raise UserError(f"score.processes is {processes} where {gpus} GPUs are seen: each process takes one.")
    rows = [
        {"key": key, "prompt_ids": sequence.prompt_ids, "response_ids": sequence.response_ids}
        for key, sequence in missing.items()
    ]
    write_parquet(pa.Table.from_pylist(rows, SEQUENCES), job.sequences)
    job.write(folder / "job.json")
    starts = [partial(_start, folder, number, processes, gpus) for number in range(processes)]
    before = Done()
    with child_groups(starts) as children:
        while True:
            running = [child for child in children if child.poll() is None]
            for number, child in enumerate(children):
                if child.poll():
                    raise _failure(folder, number, child.returncode)
            done = Done(*map(sum, zip(*(Done.read(folder, number) for number in range(processes)), strict=True)))
            if done.scored > before.scored:
                scored(done.scored - before.scored)
            if done.kept > before.kept:
                kept(done.kept - before.kept)
            before = done
            if not running:
                break
            time.sleep(_PERIOD_S)
    said = [line for number in range(processes) for line in _result(folder, number)["said"]]
    return list(dict.fromkeys(said))


def result_file(folder: Path, number: int) -> Path:
    """Where a process says what became of it."""
    return folder / f"{number}.json"


def _start(folder: Path, number: int, processes: int, gpus: int) -> subprocess.Popen[bytes]:
    threads = max(len(os.sched_getaffinity(0)) // processes, 1)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = seen.split(",")[number] if seen else str(number)
    with (folder / f"{number}.log").open("wb") as log:
        return subprocess.Popen(
            guarded([sys.executable, "-m", "bdpo.scoring.worker", str(folder / "job.json"), str(number)]),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _progress_file(folder: Path, number: int) -> Path:
    return folder / f"{number}.progress"


def _result(folder: Path, number: int) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(result_file(folder, number).read_text(encoding="utf-8"))
    return result


def _failure(folder: Path, number: int, code: int) -> Exception:
    result = _result(folder, number) if result_file(folder, number).exists() else {}
    if "key" in result:
        return BadLogprob(result["key"], result["value"])
    if "error" in result:
        return UserError(result["error"])
    full = full_disk_error(folder)
    if full is not None:
        return full
    log = (folder / f"{number}.log").read_text(encoding="utf-8", errors="replace")
    if code == -signal.SIGKILL or wants_memory(log):
        return UserError(
            "A scoring process ended, most likely for want of memory; lower score.token_budget or "
            "score.processes, then run again: what is scored is kept."
        )
    if code == -signal.SIGTERM:
        return UserError("Something ended a scoring process by SIGTERM; run again: what is scored is kept.")
    return ProcessFailed(
        f"a scoring process ended with code {code}; its log ends:\n" + "\n".join(log.splitlines()[-_TAIL_LINES:])
    )
