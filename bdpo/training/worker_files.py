"""The job file and the files by which the worker and its parent talk."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bdpo.artifacts.store import write_atomically
from bdpo.config.methods import Loss
from bdpo.config.train import Schedule

PREPARED_FILE = "prepared.parquet"
METRICS_FILE = "metrics.jsonl"
ERROR_FILE = "error.txt"
DONE_FILE = "done"
"""Written last: the policy and all metrics are there."""
POLICY_FOLDER = "policy"
ADAPTER_FOLDER = "adapter"
CHECKPOINTS_FOLDER = "checkpoints"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
"""Environment variable of the GPUs that a process sees, in their order."""


def own_path() -> str:
    """`PATH` with the programs of this Python's environment first, for none need be active."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


@dataclass(frozen=True)
class Job:
    """What a worker is told; the fields are those of the settings unless a docstring says more."""

    folder: str
    """Where the worker reads the prepared rows and writes everything."""
    parent_place: str
    """The process that wants this work: its `bdpo.lifetime.pid_place`, number and `bdpo.lifetime.start_ticks`."""
    parent_pid: int
    parent_started: int
    visible_gpus: str | None
    """The user's own `CUDA_VISIBLE_DEVICES`, in whose place DeepSpeed's launcher puts `0,1,...`; None where it is not
    set, or where a hostfile says which GPUs there are."""
    world: int
    """Processes on all machines."""
    data: str
    """Digest of the prepared rows."""
    model_name: str
    """For people and hubs."""
    model_folder: str
    dtype: str
    quantization: str | None
    attention: str
    trust_remote_code: bool
    max_length: int
    layout: str | None
    """Of the passes, a `Layout` by its value: what the parent has found, in whose job it is None until then."""
    loss: Loss
    has_reference: bool
    constants: dict[str, float]
    """Of the loss: `bdpo.losses.Hyperparameters`."""
    peak_learning_rate: float
    total_steps: int
    warmup_steps: int
    schedule: Schedule
    batch_size: int
    token_budget: int
    weight_decay: float
    max_grad_norm: float
    seed: int
    deterministic: bool
    eval_every: int
    checkpoint_every: int
    keep_checkpoints: int
    best_metric: str
    """By which the best evaluation is known."""
    patience: int | None
    """Evaluations without a new best after which training stops; None: never."""
    gradient_checkpointing: bool
    lora: dict[str, Any] | None
    deepspeed: dict[str, Any]
    """DeepSpeed's own settings."""

    @property
    def made_with(self) -> dict[str, Any]:
        """What the weights at a step depend on, places and processes apart."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE}

    def write(self, path: Path) -> None:
        """Save as JSON."""
        write_atomically(path, json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Load what `write` saved."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


_FREE = frozenset(
    {
        "folder",
        "parent_place",
        "parent_pid",
        "parent_started",
        "model_name",
        "model_folder",
        "visible_gpus",
        "layout",
        "world",
        "checkpoint_every",
        "keep_checkpoints",
    }
)
