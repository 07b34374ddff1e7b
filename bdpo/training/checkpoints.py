"""Checkpoints that are there whole or not at all."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.manifest import FileEntry, file_damage, list_files
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
    """An empty folder to save the checkpoint of `step` in; call on one process.

    What was not finished goes, of whatever step: a run that goes on may save at others (`train.checkpoint_every`).
    """
    for unfinished in root.glob("step-*.tmp"):
        shutil.rmtree(unfinished)
    folder = root / f"{_name(step)}.tmp"
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
        best: step of the evaluation whose checkpoint stays too, or None.
    """
    folder = root / f"{_name(step)}.tmp"
    files = list_files(folder)
    record = {
        "step": step,
        "processes": world,
        "made_with": made_with,
        "files": {name: entry.model_dump() for name, entry in files.items()},
        "metrics": metrics,
    }
    for name in files:
        sync(folder / name)
    write_atomically(folder / _COMPLETE, json.dumps({"sha256": digest_value(record), "record": record}))
    final = root / _name(step)
    shutil.rmtree(final, ignore_errors=True)
    folder.rename(final)
    sync(root)
    for old in _folders(root)[:-keep]:
        if best is None or old.name != _name(best):
            shutil.rmtree(old)


def drop_damaged(root: Path, best: Callable[[Sequence[dict[str, Any]]], int | None]) -> list[int]:
    """Delete checkpoints that were altered, and those that need one of them; call while nobody trains.

    Args:
        root: the folder of checkpoints.
        best: given metric rows, the step of the evaluation whose checkpoint will be needed too, or None.

    Returns:
        The steps of what was deleted.
    """
    whole: set[int] = set()
    dropped: list[int] = []
    for folder in _folders(root):
        step = int(folder.name.removeprefix("step-"))
        record = _record(folder)
        needed = None if record is None else best(record["metrics"])
        if record is not None and needed in {None, step, *whole} and not _altered(folder, record):
            whole.add(step)
        else:
            shutil.rmtree(folder)
            dropped.append(step)
    return dropped


def latest_checkpoint(root: Path, *, world: int, made_with: dict[str, Any]) -> Checkpoint | None:
    """The newest checkpoint with all files that it was finished with; None to begin at the beginning.

    Raises:
        UserError: it was made by another number of processes, or with other settings or data.
    """
    for folder in reversed(_folders(root)):
        checkpoint = _read(folder, world=world, made_with=made_with)
        if checkpoint is not None:
            return checkpoint
    return None


def checkpoint_of(root: Path, step: int, *, world: int, made_with: dict[str, Any]) -> Checkpoint | None:
    """The whole checkpoint of a step, or None; errors as `latest_checkpoint`."""
    return _read(root / _name(step), world=world, made_with=made_with)


def _read(folder: Path, *, world: int, made_with: dict[str, Any]) -> Checkpoint | None:
    record = _record(folder)
    if record is None or not all(_has_size(folder / name, entry["size"]) for name, entry in record["files"].items()):
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
        # `data` is the digest of a Parquet file, whose footer names the version of what wrote it.
        writer = ", with the version of pyarrow that was installed then" if then.get("data") != now.get("data") else ""
        raise UserError(
            f"{folder}: the checkpoint was made with other settings or data: {'; '.join(differences)}; "
            f"put them back{writer}, or train anew with `--force train`."
        )
    return Checkpoint(folder, record["step"], record["metrics"])


def _record(folder: Path) -> dict[str, Any] | None:
    """What `finish_checkpoint` wrote last; None where that is not there, or not what it was."""
    try:
        written = json.loads((folder / _COMPLETE).read_bytes())
        record: dict[str, Any] = written["record"]
        return record if written["sha256"] == digest_value(record) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _altered(folder: Path, record: dict[str, Any]) -> bool:
    files = record["files"].items()
    return any(file_damage(folder, name, FileEntry.model_validate(entry)) is not None for name, entry in files)


def _folders(root: Path) -> list[Path]:
    """Those that were renamed into place, by step."""
    return sorted(path for path in root.glob("step-*") if path.suffix == "")


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _name(step: int) -> str:
    return f"step-{step:08d}"
