"""Metrics as TensorBoard event files, written while training runs."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

_NAME = "events.out.tfevents.{split}"


class EventFile:
    """One run folder a split below a folder, so that TensorBoard draws the curves of both over each other."""

    def __init__(self, folder: Path) -> None:
        """Begin anew: a run that goes on from a checkpoint repeats that checkpoint's rows first."""
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self._writers: dict[str, SummaryWriter] = {}

    def __enter__(self) -> "EventFile":
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Add a row of metrics; `eval_loss` of the split `validation` becomes its curve `loss`."""
        split = row["split"]
        if split not in self._writers:
            self._writers[split] = SummaryWriter(self._folder / split, flush_secs=2)
        for name, value in row.items():
            if name not in ("step", "split"):
                self._writers[split].add_scalar(name.removeprefix("eval_"), value, row["step"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for split, writer in self._writers.items():
            writer.close()
            # The writer puts the machine's name and the time into the file's name; artifacts carry neither.
            for path in (self._folder / split).glob("events.out.tfevents.*"):
                path.rename(path.with_name(_NAME.format(split=split)))
