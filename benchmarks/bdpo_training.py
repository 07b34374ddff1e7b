"""This project's side of `benchmarks.training`: the pipeline as a user runs it, in a process of its own.

python -m benchmarks.bdpo_training TASK.json RESULT.json
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bdpo.config import Config
from bdpo.layout.rendering import render
from bdpo.models.loading import load_tokenizer
from bdpo.pipeline import Pipeline
from bdpo.progress import Silent
from bdpo.training.schedule import step_indices
from data_checks import GreatExpectationsChecks


class _Watch(Silent):
    """The time at which each step was reported."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def advance(self, pieces: int = 1, **figures: float) -> None:
        self.ends.append(time.monotonic())


def _write_order(pipeline: Pipeline, task: dict[str, Any]) -> None:
    """The pairs in the order in which they are trained on, for the other side.

    As text, the prompt as the template writes it: of messages TRL would also train on the newline that the
    template writes after a response.
    """
    folder = next(planned.folder for planned in pipeline.plan() if planned.stage == "ingest")
    pairs = pq.read_table(folder / "pairs.parquet").to_pylist()
    order = [
        pairs[i]
        for step in range(task["steps"])
        for i in step_indices(step, num_pairs=len(pairs), batch_size=task["batch_size"], seed=task["seed"])
    ]
    tokenizer = load_tokenizer(Path(task["model"]))
    prompts = render(tokenizer, [pair["prompt"] for pair in order], generate=True)
    rows = [
        {"prompt": prompt, "chosen": pair["chosen"], "rejected": pair["rejected"]}
        for prompt, pair in zip(prompts, order, strict=True)
    ]
    Path(task["rows"]).write_text(json.dumps(rows), encoding="utf-8")


def main() -> None:
    """Ingest, score (neither is timed), and train as the task says."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(task["folder"])
    config = Config.model_validate(
        {
            "name": "benchmark",
            "artifacts": str(folder / "artifacts"),
            "model": {
                "path": task["model"],
                "dtype": task["dtype"],
                "max_length": task["max_length"],
                "max_prompt_length": task["max_length"] - 8,
            },
            "ingest": {"sources": [{"path": task["pairs"]}], "validation_fraction": 0.0},
            "train": {
                "method": "dpo",
                "learning_rate": task["learning_rate"],
                "batch_size": task["batch_size"],
                "max_steps": task["steps"],
                "token_budget": task["token_budget"],
                "gradient_checkpointing": task["gradient_checkpointing"],
                "schedule": "linear",
                "warmup_ratio": 0.0,
                "checkpoint_every": 10**6,
                "seed": task["seed"],
            },
            "evaluate": {"benchmarks": [{"path": task["pairs"]}]},
        }
    )
    pipeline = Pipeline(config, checks=GreatExpectationsChecks())
    pipeline.run_stage("ingest")
    pipeline.run_stage("score")
    _write_order(pipeline, task)
    watch = _Watch()
    trained = pipeline.run_stage("train", progress=watch)
    logs: dict[int, dict[str, Any]] = {}
    for row in pq.read_table(trained.artifact / "metrics.parquet").to_pylist():
        logs.setdefault(row["step"], {})[row["metric"]] = row["value"]
    result = {
        "ends": watch.ends,
        "logs": [logs[step] for step in sorted(logs)],
        # The largest child that was waited for: the training process, this one's own model being gone.
        "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
