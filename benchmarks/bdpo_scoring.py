"""This project's side of `benchmarks.scoring`: a process of its own that scores and tells what it took.

python -m benchmarks.bdpo_scoring TASK.json RESULT.json
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from bdpo.config import ScoreSettings
from bdpo.layout.chat import null_prompt, tokenize_pair
from bdpo.layout.rows import Layout, Row, group_rows
from bdpo.logprobs import choose_layout, compile_layers
from bdpo.logprobs.score import score_rows
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.progress import Silent
from bdpo.scoring.passes import score_to_shards
from bdpo.scoring.sequences import name_sequences, share_prompts
from bdpo.scoring.shards import Shards
from benchmarks.memory import peak_bytes

_PRODUCT = 4096
_PASSES_BESIDE = 24
"""About how many passes are timed beside a product."""


def main() -> None:
    """Score without and with the unconditional pass, then passes and matrix products in turns."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    folder = Path(task["model"])
    model = load_model(folder, dtype=task["dtype"])
    tokenizer = load_tokenizer(folder)
    longest_prompt = task["max_length"] - 1
    pairs = [
        tokenize_pair(
            tokenizer,
            row["prompt"],
            row["chosen"],
            row["rejected"],
            max_length=task["max_length"],
            max_prompt_length=longest_prompt,
        )
        for row in json.loads(Path(task["rows"]).read_text(encoding="utf-8"))
    ]
    empty = null_prompt(tokenizer, max_prompt_length=longest_prompt)
    keys, sequences = name_sequences(pairs, empty, "benchmark", max_length=task["max_length"])
    conditional = {key for pair in keys for key in (pair.chosen_key, pair.rejected_key)}
    layout = choose_layout(model, print, max_length=task["max_length"])
    if task["compile"]:
        compile_layers(model, layout, max_length=task["max_length"])
    result: dict[str, Any] = {}
    logps: dict[str, Any] = {}
    for name, wanted in (("", conditional), ("_with_mi", sequences.keys())):
        started = time.monotonic()
        rows = share_prompts(
            {key: sequences[key] for key in sequences if key in wanted},
            token_budget=task["token_budget"],
            layout=layout,
        )
        shards = Shards(Path(task["folder"], f"shards{name}"))
        score_to_shards(
            model,
            rows,
            shards,
            token_budget=task["token_budget"],
            layout=layout,
            shard_sequences=ScoreSettings().shard_sequences,
            scored=Silent().advance,
            kept=Silent().advance,
        )
        result[f"seconds{name}"] = time.monotonic() - started
        for shard in shards.paths():
            logps |= {record["key"]: record["logps"] for record in pq.read_table(shard).to_pylist()}
    result["peak_bytes"] = peak_bytes()
    budget = task["token_budget"]
    keyed = share_prompts({key: sequences[key] for key in conditional}, token_budget=budget, layout=layout)
    result |= _rates(model, [row for _, row in keyed], token_budget=budget, layout=layout)
    np.save(task["logps"], np.concatenate([logps[key] for key in sorted(logps)]))
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


def _rates(model: PreTrainedModel, rows: Sequence[Row], *, token_budget: int, layout: Layout) -> dict[str, float]:
    """Floating-point operations a second of passes spread over all, and of a product after each.

    In turns, because on a shared machine either may run at half or twice the speed a minute later.
    """
    every = max(len(group_rows(rows, token_budget, layout)) // _PASSES_BESIDE, 1)
    factors = [torch.randn(_PRODUCT, _PRODUCT).to(model.dtype) for _ in range(2)]
    torch.mm(*factors)
    flops, seconds, products = 0, 0.0, []
    started = time.monotonic()
    for scored in score_rows(
        model, rows, token_budget=token_budget, layout=layout, share=slice(every // 2, None, every)
    ):
        ended = time.monotonic()
        flops += _needed_flops(model, [rows[i] for i in scored.indices])
        seconds += ended - started
        multiplying = time.monotonic()
        torch.mm(*factors)
        started = time.monotonic()
        products.append(started - multiplying)
    product = 2 * float(_PRODUCT) ** 3 * len(products) / sum(products)
    return {"flops_per_s": flops / seconds, "gemm_flops_per_s": product}


def _needed_flops(model: PreTrainedModel, rows: Sequence[Row]) -> int:
    """What `benchmarks.scoring` counts, for a decoder without a window."""
    config = model.config
    linear = [part for part in model.get_decoder().modules() if isinstance(part, torch.nn.Linear)]
    weights = sum(part.weight.numel() for part in linear)
    channels = config.num_hidden_layers * config.num_attention_heads * config.head_dim
    head = model.get_output_embeddings().weight.numel()
    total = 0
    for row in rows:
        total += 2 * weights * _inputs(row) + 4 * channels * _seen(row) + 2 * head * sum(map(len, row.responses))
    return total


def _inputs(row: Row) -> int:
    return len(row.prompt_ids) + sum(len(response) - 1 for response in row.responses)


def _seen(row: Row) -> int:
    """Keys that the input tokens of a row see, all together: each token its prompt, what precedes it, and itself."""
    prompt = len(row.prompt_ids)
    seen = prompt * (prompt + 1) // 2
    for response in row.responses:
        inputs = len(response) - 1
        seen += prompt * inputs + inputs * (inputs + 1) // 2
    return seen


if __name__ == "__main__":
    main()
