"""Metrics as TensorBoard event files, written while training runs."""

import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_NAME = "events.out.tfevents.{split}"
_VERSION = "brain.Event:2"
"""What the first record of an event file says."""


class EventFile:
    """One run folder a split below a folder, so that TensorBoard draws the curves of both over each other.

    Written without TensorBoard's own writer: its thread would print the error of a full disk, and its file names hold
    the machine's name and the time.
    """

    def __init__(self, folder: Path) -> None:
        """Begin anew: a run that goes on from a checkpoint repeats that checkpoint's rows first."""
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "EventFile":
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Add a row of metrics; `eval_loss` of the split `validation` becomes its curve `loss`.

        Raises:
            OSError: the disk takes no more.
        """
        split = row["split"]
        if split not in self._files:
            path = self._folder / split / _NAME.format(split=split)
            path.parent.mkdir(parents=True)
            self._files[split] = path.open("wb")
            self._add(split, Event(file_version=_VERSION))
        values = [
            Summary.Value(tag=name.removeprefix("eval_"), simple_value=value)
            for name, value in row.items()
            if name not in ("step", "split")
        ]
        self._add(split, Event(step=row["step"], summary=Summary(value=values)))

    def _add(self, split: str, event: Event) -> None:
        event.wall_time = time.time()
        RecordWriter(self._files[split]).write(event.SerializeToString())
        self._files[split].flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
