"""The job file and the files by which the worker and its parent talk."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bdpo.artifacts.store import write_atomically
from bdpo.training.schedule import Schedule

PREPARED_FILE = "prepared.parquet"
METRICS_FILE = "metrics.jsonl"
ERROR_FILE = "error.txt"
POLICY_FOLDER = "policy"
CHECKPOINTS_FOLDER = "checkpoints"


@dataclass(frozen=True)
class Job:
    """What a worker is told; the fields are those of the settings unless a docstring says more."""

    folder: str
    """Where the worker reads the prepared rows and writes everything."""
    parent_pid: int
    """The process that wants this work, and its creation time."""
    parent_started: float
    model_folder: str
    dtype: str
    attention: str
    trust_remote_code: bool
    max_length: int
    beta: float
    peak_learning_rate: float
    total_steps: int
    warmup_steps: int
    schedule: Schedule
    batch_size: int
    token_budget: int
    weight_decay: float
    max_grad_norm: float
    seed: int
    eval_every: int
    checkpoint_every: int
    keep_checkpoints: int
    deepspeed: str | None

    def write(self, path: Path) -> None:
        """Save as JSON."""
        write_atomically(path, json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Load what `write` saved."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
