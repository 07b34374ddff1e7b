"""Checkpoints that are there whole or not at all."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from bdpo.artifacts.store import sync, write_atomically
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


def finish_checkpoint(
    root: Path,
    step: int,
    *,
    world: int,
    made_with: dict[str, Any],
    metrics: list[dict[str, Any]],
    keep: int,
    best: int | None,
) -> None:
    """Sync and list a checkpoint, rename it into place, drop older ones; call on one process.

    Args:
        root: the folder of checkpoints.
        step: steps done.
        world: number of processes.
        made_with: the settings and data that the weights depend on.
        metrics: all rows up to `step`.
        keep: how many of the newest stay.
        best: step of the best evaluation, whose checkpoint stays too if there is one.
    """
    folder = root / f"{_name(step)}.tmp"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    record = {
        "step": step,
        "processes": world,
        "made_with": made_with,
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
    sync(root)
    for old in sorted(p for p in root.glob("step-*") if p.suffix == "")[:-keep]:
        if best is None or old.name != _name(best):
            shutil.rmtree(old)


def latest_checkpoint(root: Path, *, world: int, made_with: dict[str, Any]) -> Checkpoint | None:
    """The newest checkpoint with all files that it was finished with; None to begin at the beginning.

    Raises:
        UserError: it was made by another number of processes, or with other settings or data.
    """
    for folder in sorted((p for p in root.glob("step-*") if p.suffix == ""), reverse=True):
        checkpoint = _read(folder, world=world, made_with=made_with)
        if checkpoint is not None:
            return checkpoint
    return None


def checkpoint_of(root: Path, step: int, *, world: int, made_with: dict[str, Any]) -> Checkpoint | None:
    """The whole checkpoint of a step, or None; errors as `latest_checkpoint`."""
    return _read(root / _name(step), world=world, made_with=made_with)


def _read(folder: Path, *, world: int, made_with: dict[str, Any]) -> Checkpoint | None:
    try:
        record = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not all(_has_size(folder / name, size) for name, size in record["files"].items()):
        return None  # its deletion was cut short
    if record["processes"] != world:
        raise UserError(
            f"{folder}: the checkpoint was made by {record['processes']} processes and this run has {world}; "
            f"set train.processes={record['processes']}, or train anew with `--force train`."
        )
    then = record["made_with"]
    # As JSON has it: a tuple comes back as a list.
    now = json.loads(json.dumps(made_with))
    differences = [
        f"{name} was {then.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if differences:
        raise UserError(
            f"{folder}: the checkpoint was made with other settings or data: {'; '.join(differences)}; "
            "put them back, or train anew with `--force train`."
        )
    return Checkpoint(folder, record["step"], record["metrics"])


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _name(step: int) -> str:
    return f"step-{step:08d}"
