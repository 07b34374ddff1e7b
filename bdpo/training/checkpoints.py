"""Checkpoints that are there whole or not at all."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError

STATE = "state"
"""Folder of the engine's own files in a checkpoint."""
_COMPLETE = "complete.json"


class Checkpoint(NamedTuple):
    """A whole checkpoint."""

    folder: Path
    step: int
    metrics: list[dict[str, Any]]
    """All metric rows up to `step`."""


def begin_checkpoint(root: Path, step: int) -> Path:
    """An empty folder to save the checkpoint of `step` in; call on one process."""
    folder = root / f"{_name(step)}.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def finish_checkpoint(root: Path, step: int, *, world: int, metrics: list[dict[str, Any]], keep: int) -> None:
    """Sync and list a checkpoint, rename it into place, drop the oldest beyond `keep`; call on one process."""
    folder = root / f"{_name(step)}.tmp"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    record = {
        "step": step,
        "processes": world,
        "files": {str(path.relative_to(folder)): path.stat().st_size for path in files},
        "metrics": metrics,
    }
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    write_atomically(folder / _COMPLETE, json.dumps(record))
    final = root / _name(step)
    shutil.rmtree(final, ignore_errors=True)
    folder.rename(final)
    for old in sorted(p for p in root.glob("step-*") if p.suffix == "")[:-keep]:
        shutil.rmtree(old)


def latest_checkpoint(root: Path, *, world: int) -> Checkpoint | None:
    """The newest checkpoint with all files that it was finished with; None to begin at the beginning.

    Raises:
        UserError: it was made by another number of processes.
    """
    for folder in sorted((p for p in root.glob("step-*") if p.suffix == ""), reverse=True):
        try:
            record = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        if not all(_has_size(folder / name, size) for name, size in record["files"].items()):
            continue  # its deletion was cut short
        if record["processes"] != world:
            raise UserError(
                f"{folder}: the checkpoint was made by {record['processes']} processes and train.processes is {world}; "
                f"set train.processes={record['processes']}, or train anew with `--force train`."
            )
        return Checkpoint(folder, record["step"], record["metrics"])
    return None


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _name(step: int) -> str:
    return f"step-{step:08d}"
