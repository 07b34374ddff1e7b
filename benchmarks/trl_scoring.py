"""TRL's side of `benchmarks.scoring`: a process of its own that scores and tells what it took.

python -m benchmarks.trl_scoring TASK.json RESULT.json
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from bdpo.models.products import prepare_bfloat16_products
from benchmarks.memory import peak_bytes


class _Timed(DPOTrainer):  # type: ignore[misc]
    """The trainer as it is; how long its scoring takes."""

    seconds = 0.0

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Any:
        # One batch ahead, for the other side has computed too when its time begins: to check its layout.
        super()._precompute_ref_logps(dataset.select(range(min(batch_size, len(dataset)))), name, batch_size)
        started = time.monotonic()
        scored = super()._precompute_ref_logps(dataset, name, batch_size)
        self.seconds = time.monotonic() - started
        return scored


def main() -> None:
    """Build the trainer, which scores."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    prepare_bfloat16_products()  # where PyTorch's own would be the only thing measured
    rows = [
        {"prompt": pair["prompt"]}
        | {side: [{"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
        for pair in json.loads(Path(task["rows"]).read_text(encoding="utf-8"))
    ]
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=getattr(torch, task["dtype"]))
    settings = DPOConfig(
        output_dir=task["folder"],
        precompute_ref_log_probs=True,
        max_length=task["max_length"],
        bf16=task["dtype"] == "bfloat16",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = _Timed(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
    )
    assert len(trainer.train_dataset) == len(rows), "TRL left rows out"
    result = {"seconds": trainer.seconds, "peak_bytes": peak_bytes()}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
