"""Reference scoring beside TRL's `precompute_ref_log_probs`, and beside the machine's own matrix product.

    python -m benchmarks.scoring                         # both dtypes
    python -m benchmarks.scoring --json                  # a line a dtype
    python -m benchmarks.scoring --pairs 24 --dtype float32
    python -m benchmarks.scoring --compile               # with model.compile on this project's side
    python -m benchmarks.scoring --pairs 96 --pairs-a-prompt 4   # prompts shared as in PKU-SafeRLHF

Both sides score the embedded model on the same rows, in the same dtype, with the same `max_length`, each in a
process of its own, one after the other, on all cores.  Rows are the first of HH-RLHF that fit `max_length`
without a cut.  Loading, tokenising, compiling and the first passes are not timed; all other forward passes and
the writing of what they give are.  TRL has its defaults (8 pairs a batch, dataset order; under bfloat16
`bf16=True`, autocast over bfloat16 weights) and does no unconditional pass, so `pairs_per_s` is without it and
`with_mi_pairs_per_s` with it.  Memory is the peak resident set of the process that scores.  On a CPU without
bfloat16 instructions both sides multiply by `bdpo.models.products`.

`gemm_fraction` is the rate of the floating-point operations that the method needs, of the rate of a large
matrix product in the same process; some passes, spread over all, and products take turns for it, for a shared
machine may be twice as fast a minute later.  Needed are, of every prompt token once and every response token but the
last: two operations a weight of the decoder's linear layers, and in attention four a channel and a key that
the token sees; and the output layer for each response token.  Padding, softmax, norms and activations count
as nothing.  `speedup_vs_trl` compares the two rates without the unconditional pass.

With `--pairs-a-prompt N`, N successive pairs get one of their prompts, the shortest, so that nothing is cut.

In bfloat16, `mean_deviation` and `largest_deviation` are those of token log-probs from float32, in nats.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bdpo.config import ScoreSettings
from bdpo.errors import UserError
from bdpo.models.embedded import embedded_model
from benchmarks.beside_trl import DATA, enough, require_trl, run_side, usable_rows

_MAX_LENGTH = 1024


def measure(
    dtype: str, pairs: list[dict[str, Any]], scratch: Path, token_budget: int, *, compiled: bool
) -> dict[str, Any]:
    """Speed and memory of both sides in one dtype; token log-probs stay in `scratch`."""
    rows = scratch / "rows.json"
    rows.write_text(json.dumps(pairs), encoding="utf-8")
    task = {
        "model": str(embedded_model()),
        "rows": str(rows),
        "dtype": dtype,
        "max_length": _MAX_LENGTH,
        "token_budget": token_budget,
        "compile": compiled,
        "threads": len(os.sched_getaffinity(0)),
        "logps": str(scratch / f"{dtype}.npy"),
    }
    ours, trl = (
        run_side(side, task | {"folder": str(scratch / f"{side}-{dtype}")}, scratch / f"{side}-{dtype}")
        for side in ("bdpo_scoring", "trl_scoring")
    )
    speed, trl_speed = len(pairs) / ours["seconds"], len(pairs) / trl["seconds"]
    with_mi = len(pairs) / ours["seconds_with_mi"]
    figures = {
        "dtype": dtype,
        "pairs_per_s": round(speed, 3),
        "trl_pairs_per_s": round(trl_speed, 3),
        "speedup_vs_trl": round(speed / trl_speed, 2),
        "memory_vs_trl": round(ours["peak_bytes"] / trl["peak_bytes"], 3),
        "gemm_fraction": round(ours["flops_per_s"] / ours["gemm_flops_per_s"], 3),
        "with_mi_pairs_per_s": round(with_mi, 3),
        "with_mi_speedup_vs_trl": round(with_mi / trl_speed, 2),
        "gemm_gflops_per_s": round(ours["gemm_flops_per_s"] / 1e9, 1),
        "peak_gb": round(ours["peak_bytes"] / 1e9, 2),
        "trl_peak_gb": round(trl["peak_bytes"] / 1e9, 2),
        "pairs": len(pairs),
        "token_budget": token_budget,
        "compile": compiled,
        "cores": task["threads"],
        "trl": importlib.metadata.version("trl"),
    }
    exact, rounded = (scratch / f"{name}.npy" for name in ("float32", "bfloat16"))
    if dtype == "bfloat16" and exact.is_file():
        deviation = np.abs(np.load(exact) - np.load(rounded))
        figures |= {
            "mean_deviation": round(float(deviation.mean()), 4),
            "largest_deviation": round(float(deviation.max()), 3),
        }
    return figures


def share_prompts(pairs: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """`number` successive pairs get the shortest of their prompts."""
    shared = []
    for start in range(0, len(pairs), number):
        group = pairs[start : start + number]
        prompt = min((pair["prompt"] for pair in group), key=lambda said: sum(len(turn["content"]) for turn in said))
        shared += [pair | {"prompt": prompt} for pair in group]
    return shared


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Reference scoring beside TRL's precompute_ref_log_probs.")
    parser.add_argument("--json", action="store_true", help="a JSON object a dtype, one a line")
    parser.add_argument("--pairs", type=int, default=256, help="pairs scored (default 256)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), action="append", help="both by default")
    parser.add_argument("--data", type=Path, default=DATA, help="HH-RLHF, harmless-base, test split")
    parser.add_argument("--pairs-a-prompt", type=int, default=1, help="successive pairs that share a prompt")
    budget = ScoreSettings().token_budget
    parser.add_argument("--token-budget", type=int, default=budget, help=f"score.token_budget (default {budget})")
    parser.add_argument("--compile", action="store_true", help="this project's side with model.compile")
    options = parser.parse_args()
    try:
        require_trl()
        dtypes = options.dtype or ("float32", "bfloat16")
        if options.pairs < 1:
            raise UserError(f"--pairs {options.pairs} is too few: at least 1.")
        if options.pairs_a_prompt < 1:
            raise UserError(f"--pairs-a-prompt {options.pairs_a_prompt} is too few: at least 1.")
        # One token less, for TRL also scores the newline that the template writes after a response.
        rows = islice(usable_rows(options.data, _MAX_LENGTH - 1), options.pairs)
        pairs = share_prompts(enough(list(rows), options.pairs, options.data), options.pairs_a_prompt)
        with tempfile.TemporaryDirectory() as scratch:
            for dtype in dtypes:
                figures = measure(dtype, pairs, Path(scratch), options.token_budget, compiled=options.compile)
                sys.stdout.write((json.dumps(figures) if options.json else _sentence(figures)) + "\n")
                sys.stdout.flush()
    except UserError as error:
        sys.exit(f"error: {error}")


def _sentence(figures: dict[str, Any]) -> str:
    text = (
        "{dtype}: {pairs_per_s} pairs/s, TRL {trl_pairs_per_s}: {speedup_vs_trl} times as fast; "
        "{with_mi_pairs_per_s} with the unconditional pass: {with_mi_speedup_vs_trl} times; "
        "peak {peak_gb} GB, TRL {trl_peak_gb} GB: {memory_vs_trl:.0%} of its memory; "
        "{gemm_fraction:.0%} of a matrix product's rate, {gemm_gflops_per_s} GFLOP/s "
        "({pairs} pairs, {token_budget} tokens a pass, {cores} cores)"
    ).format(**figures)
    if "mean_deviation" in figures:
        text += "; {mean_deviation} nats a token from float32, at most {largest_deviation}".format(**figures)
    return text


if __name__ == "__main__":
    main()
