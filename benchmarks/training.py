"""Training beside TRL's DPOTrainer: pairs a second, memory, and the same mathematics.

    python -m benchmarks.training                        # speed and memory, both dtypes
    python -m benchmarks.training --json                 # a line a dtype
    python -m benchmarks.training --pairs 16 --dtype float32
    python -m benchmarks.training --parity               # loss, rewards and gradient norms of 20 steps, float32

Both sides train the embedded model with plain DPO on the same rows in the same order, the same batch,
dtype and optimizer (fused AdamW), with the reference's log-probs computed beforehand; each in a process
of its own, one after the other, on all cores.  Rows are the first of HH-RLHF that fit `max_length`
without a cut.  The first step of each side warms up and is not timed.  Memory is the peak resident set
of the process that trains.  TRL computes in the dtype of its weights, with AdamW states of that dtype
too; here float32 master weights stand beside bfloat16 ones.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bdpo.data.files import DataFile
from bdpo.data.formats.hh import parse_hh
from bdpo.data.readers import read_rows
from bdpo.data.rows import RowProblem
from bdpo.errors import UserError
from bdpo.layout.chat import Untokenizable, tokenize_pair
from bdpo.models.embedded import embedded_model
from bdpo.models.loading import load_tokenizer

_ROOT = Path(__file__).resolve().parents[1]
_DATA = _ROOT.parent / "shared" / "data" / "hh_rlhf" / "harmless-base-test.jsonl.gz"
_TRL = "1.16.0"
_MAX_LENGTH = 512
_SEED = 0
_COMPARED = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "grad_norm", "learning_rate")
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
"""Allowed differences in `--parity`; the absolute one is rounding of log-probs, times beta."""


def usable_pairs(data: Path, number: int, longest: int) -> list[dict[str, Any]]:
    """The first rows of HH-RLHF, all different, that fit `longest` tokens without a cut.

    Raises:
        UserError: the file is missing or has too few of them.
    """
    if not data.is_file():
        raise UserError(f"{data}: there is no such file; name HH-RLHF's harmless-base test split: --data.")
    tokenizer = load_tokenizer(embedded_model())
    found: dict[str, dict[str, Any]] = {}
    for raw in read_rows(DataFile(data, data.name)):
        if len(found) == number:
            break
        try:
            pair = parse_hh(raw.value) if isinstance(raw.value, dict) else None
            if pair is None or pair.chosen == pair.rejected:
                continue
            cut = {"max_length": 10**6, "max_prompt_length": 10**6 - 1}
            ids = tokenize_pair(tokenizer, pair.prompt, pair.chosen, pair.rejected, **cut)
        except (RowProblem, Untokenizable):
            continue
        if len(ids.prompt_ids) + max(len(ids.chosen_ids), len(ids.rejected_ids)) <= longest:
            key = json.dumps(pair.prompt)
            found.setdefault(key, {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected})
    if len(found) < number:
        raise UserError(f"{data}: only {len(found)} usable rows, where --pairs asks for {number}.")
    return list(found.values())


def train_both(folder: Path, pairs: list[dict[str, Any]], task: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Train on the same pairs here and with TRL, one after the other; what each side saw."""
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    results = []
    for module in ("bdpo_training", "trl_training"):
        own = folder / module
        own.mkdir()
        place = {"folder": str(own), "pairs": str(folder / "pairs.jsonl"), "rows": str(folder / "rows.json")}
        (own / "task.json").write_text(json.dumps(task | place), encoding="utf-8")
        command = [sys.executable, "-m", f"benchmarks.{module}", str(own / "task.json"), str(own / "result.json")]
        with (own / "log").open("wb") as log:
            done = subprocess.run(command, cwd=_ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            tail = (own / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise UserError(f"benchmarks.{module} ended with code {done.returncode}: {' | '.join(tail)}")
        results.append(json.loads((own / "result.json").read_text(encoding="utf-8")))
    return tuple(results)


def measure(dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Speed and memory of both sides in one dtype."""
    pairs = usable_pairs(options.data, options.pairs, _MAX_LENGTH)
    task = _task(dtype, options.batch_size, len(pairs), options.token_budget)
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
        "cores": task["threads"],
        "trl": importlib.metadata.version("trl"),
    }


def compare(options: argparse.Namespace) -> tuple[list[str], bool]:
    """Losses, rewards and gradient norms of 20 steps in float32: a table, and whether they agree."""
    steps, batch_size = 20, 2
    pairs = usable_pairs(options.data, steps * batch_size, 256)
    task = _task("float32", batch_size, len(pairs), options.token_budget) | {"learning_rate": 1e-5}
    with tempfile.TemporaryDirectory() as scratch:
        ours, trl = train_both(Path(scratch), pairs, task)
    lines = [f"step  {'':15} {'bdpo':>16} {'TRL ' + _TRL:>16} {'relative':>10}"]
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


def _task(dtype: str, batch_size: int, num_pairs: int, token_budget: int) -> dict[str, Any]:
    return {
        "model": str(embedded_model()),
        "dtype": dtype,
        "batch_size": batch_size,
        "steps": num_pairs // batch_size,
        "learning_rate": 1e-6,
        "max_length": _MAX_LENGTH,
        "token_budget": token_budget,
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
    parser.add_argument("--token-budget", type=int, default=512, help="train.token_budget (default 512)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), action="append", help="both by default")
    parser.add_argument("--data", type=Path, default=_DATA, help="HH-RLHF, harmless-base, test split")
    options = parser.parse_args()
    try:
        if not _has_trl():
            raise UserError(f"TRL {_TRL} is what this compares with: `pip install trl=={_TRL}`.")
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


def _has_trl() -> bool:
    try:
        return importlib.metadata.version("trl") == _TRL
    except importlib.metadata.PackageNotFoundError:
        return False


def _sentence(figures: dict[str, Any]) -> str:
    return (
        "{dtype}: {pairs_per_s} pairs/s, TRL {trl_pairs_per_s}: {speedup_vs_trl} times as fast; "
        "peak {peak_gb} GB, TRL {trl_peak_gb} GB: {memory_vs_trl:.0%} of its memory "
        "({pairs} pairs, batches of {batch_size}, {cores} cores)"
    ).format(**figures)


if __name__ == "__main__":
    main()
