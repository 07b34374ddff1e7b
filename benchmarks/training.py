"""Training beside TRL's DPOTrainer: pairs a second, memory, and the same mathematics.

    python -m benchmarks.training                        # speed and memory, both dtypes
    python -m benchmarks.training --json                 # a line a dtype
    python -m benchmarks.training --pairs 16 --dtype float32
    python -m benchmarks.training --parity               # loss, rewards and gradient norms of 20 steps, float32

Both sides train the embedded model with plain DPO on the same rows in the same order, the same batch, dtype and
optimizer (fused AdamW), with the reference's log-probs computed beforehand; each in a process of its own, one
after the other, on all cores.  Rows are the first of HH-RLHF that fit `max_length` without a cut.  The first
step of each side warms up and is not timed.  Memory is the peak resident set of the process that trains.  TRL
has no activation checkpointing, which makes it the fastest; this side has it with `--gradient-checkpointing`,
for less memory.  TRL takes a batch in one pass, its default; this side `--token-budget` tokens a pass.  TRL
computes in the dtype of its weights (`bf16=False`: no autocast), with AdamW states of that dtype too; here
float32 master weights stand beside bfloat16 ones.  On a CPU without bfloat16 instructions both sides multiply
by `bdpo.models.products`, for TRL's would take hours without it.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bdpo.errors import UserError
from bdpo.models.embedded import embedded_model
from benchmarks.beside_trl import DATA, TRL, enough, require_trl, run_side, usable_rows

_MAX_LENGTH = 512
_SEED = 0
_COMPARED = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "grad_norm", "learning_rate")
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
"""Allowed differences in `--parity`; the absolute one is rounding of log-probs, times beta."""


def different_pairs(data: Path, number: int, longest: int) -> list[dict[str, Any]]:
    """The first usable rows, each with a prompt of its own."""
    found: dict[str, dict[str, Any]] = {}
    for pair in usable_rows(data, longest):
        found.setdefault(json.dumps(pair["prompt"]), pair)
        if len(found) == number:
            break
    return enough(list(found.values()), number, data)


def train_both(folder: Path, pairs: list[dict[str, Any]], task: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Train on the same pairs here and with TRL, one after the other; what each side saw."""
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    place = {"pairs": str(folder / "pairs.jsonl"), "rows": str(folder / "rows.json")}
    return tuple(
        run_side(module, task | place | {"folder": str(folder / module)}, folder / module)
        for module in ("bdpo_training", "trl_training")
    )


def measure(dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Speed and memory of both sides in one dtype."""
    pairs = different_pairs(options.data, options.pairs, _MAX_LENGTH)
    task = _task(dtype, options.batch_size, len(pairs), options)
    with tempfile.TemporaryDirectory() as scratch:
        ours, trl = train_both(Path(scratch), pairs, task)
    timed = options.batch_size * (task["steps"] - 1)
    speeds = [timed / (side["ends"][-1] - side["ends"][0]) for side in (ours, trl)]
    return {
        "dtype": dtype,
        "pairs_per_s": round(speeds[0], 3),
        "trl_pairs_per_s": round(speeds[1], 3),
        "speedup_vs_trl": round(speeds[0] / speeds[1], 2),
        "memory_vs_trl": round(ours["peak_bytes"] / trl["peak_bytes"], 3),
        "peak_gb": round(ours["peak_bytes"] / 1e9, 2),
        "trl_peak_gb": round(trl["peak_bytes"] / 1e9, 2),
        "pairs": len(pairs),
        "batch_size": options.batch_size,
        "token_budget": options.token_budget,
        "gradient_checkpointing": options.gradient_checkpointing,
        "cores": task["threads"],
        "trl": importlib.metadata.version("trl"),
    }


def compare(options: argparse.Namespace) -> tuple[list[str], bool]:
    """Losses, rewards and gradient norms of 20 steps in float32: a table, and whether they agree."""
    steps, batch_size = 20, 2
    pairs = different_pairs(options.data, steps * batch_size, 256)
    task = _task("float32", batch_size, len(pairs), options) | {"learning_rate": 1e-5}
    with tempfile.TemporaryDirectory() as scratch:
        ours, trl = train_both(Path(scratch), pairs, task)
    lines = [f"step  {'':15} {'bdpo':>16} {'TRL ' + TRL:>16} {'relative':>10}"]
    agree = len(ours["logs"]) == len(trl["logs"]) == steps
    for step, (one, other) in enumerate(zip(ours["logs"], trl["logs"], strict=False), start=1):
        for name in _COMPARED:
            mine, theirs = float(one[name]), float(other[name])
            difference = abs(mine - theirs)
            relative = difference / max(abs(mine), abs(theirs), 1e-30)
            close = relative <= _RELATIVE or difference <= _ABSOLUTE
            agree = agree and close
            lines.append(
                f"{step:4}  {name:15} {mine:16.9g} {theirs:16.9g} {relative:10.1e}{'' if close else '  differs'}"
            )
    return lines, agree


def _task(dtype: str, batch_size: int, num_pairs: int, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": str(embedded_model()),
        "dtype": dtype,
        "batch_size": batch_size,
        "steps": num_pairs // batch_size,
        "learning_rate": 1e-6,
        "max_length": _MAX_LENGTH,
        "token_budget": options.token_budget,
        "gradient_checkpointing": options.gradient_checkpointing,
        "threads": len(os.sched_getaffinity(0)),
        "seed": _SEED,
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Training beside TRL's DPOTrainer.")
    parser.add_argument("--json", action="store_true", help="a JSON object a dtype, one a line")
    parser.add_argument("--parity", action="store_true", help="compare the numbers of 20 steps instead of speed")
    parser.add_argument("--pairs", type=int, default=48, help="pairs trained on (default 48)")
    parser.add_argument("--batch-size", type=int, default=8, help="pairs an optimizer step (default 8)")
    parser.add_argument("--token-budget", type=int, default=768, help="train.token_budget (default 768)")
    parser.add_argument(
        "--gradient-checkpointing", action="store_true", help="train.gradient_checkpointing of this project's side"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), action="append", help="both by default")
    parser.add_argument("--data", type=Path, default=DATA, help="HH-RLHF, harmless-base, test split")
    options = parser.parse_args()
    try:
        require_trl()
        if options.pairs < 2 * options.batch_size:
            raise UserError(f"--pairs {options.pairs} makes fewer than two steps of --batch-size {options.batch_size}.")
        if options.parity:
            lines, agree = compare(options)
            sys.stdout.write("\n".join(lines) + f"\n{'agree' if agree else 'DIFFER'} within {_RELATIVE:g} relative\n")
            sys.exit(0 if agree else 1)
        for dtype in options.dtype or ("float32", "bfloat16"):
            figures = measure(dtype, options)
            sys.stdout.write((json.dumps(figures) if options.json else _sentence(figures)) + "\n")
            sys.stdout.flush()
    except UserError as error:
        sys.exit(f"error: {error}")


def _sentence(figures: dict[str, Any]) -> str:
    return (
        "{dtype}: {pairs_per_s} pairs/s, TRL {trl_pairs_per_s}: {speedup_vs_trl} times as fast; "
        "peak {peak_gb} GB, TRL {trl_peak_gb} GB: {memory_vs_trl:.0%} of its memory "
        "({pairs} pairs, batches of {batch_size}, {cores} cores)"
    ).format(**figures)


if __name__ == "__main__":
    main()
