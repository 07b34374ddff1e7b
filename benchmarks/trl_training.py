"""TRL's side of `benchmarks.training`: a process of its own that trains and tells what it saw.

python -m benchmarks.trl_training TASK.json RESULT.json
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from bdpo.models.products import prepare_bfloat16_products
from benchmarks.memory import peak_bytes

trl: Any = importlib.import_module("trl")  # typed in part


class _Watch(TrainerCallback):  # type: ignore[misc]
    """The time at which each step ended, and what was logged of it."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.logs: list[dict[str, Any]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.monotonic())

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "loss" in logs:
            self.logs.append(logs)


def main() -> None:
    """Train as the task says."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    prepare_bfloat16_products()  # where PyTorch's own would be the only thing measured
    rows = json.loads(Path(task["rows"]).read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=getattr(torch, task["dtype"]))
    settings = trl.DPOConfig(
        output_dir=task["folder"],
        per_device_train_batch_size=task["batch_size"],
        max_steps=task["steps"],
        learning_rate=task["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=0.1,
        loss_type="sigmoid",
        max_length=task["max_length"],
        precompute_ref_log_probs=True,
        train_sampling_strategy="sequential",
        # The weights are in the dtype already; without activation checkpointing TRL is at its fastest.
        bf16=False,
        gradient_checkpointing=False,
        optim="adamw_torch_fused",
        use_cpu=True,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    watch = _Watch()
    trainer = trl.DPOTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
        callbacks=[watch],
    )
    trainer.train()
    result = {
        "ends": watch.ends,
        "logs": watch.logs,
        "peak_bytes": peak_bytes(),
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
