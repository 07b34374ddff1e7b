"""A score store small enough to work out by hand."""

from pathlib import Path

import pyarrow as pa

from bdpo.artifacts.parquet import write_parquet
from bdpo.schemas import PAIRS, SEQUENCES
from bdpo.scoring.merge import merge
from bdpo.scoring.shards import Shards

# pair: split, category, then for chosen and rejected: log-probs with the prompt, log-probs without it
LOGPS = {
    # I = (-2 - -6) / 2 = 2 and (-4 - -5) / 1 = 1: weights 2 * 1 / 3 and 2 * 2 / 3
    "a": ("train", "garden", ([-1.5, -0.5], [-4.0, -2.0]), ([-4.0], [-5.0])),
    # I = 1 and 1: plain DPO
    "b": ("train", "garden", ([-1.0, -1.0], [-2.0, -2.0]), ([-0.5], [-1.5])),
    # I = (-4 - -2) / 2 = -1 and (-3 - -6) / 2 = 1.5; the reference prefers the rejected response
    "c": ("train", None, ([-2.0, -2.0], [-1.0, -1.0]), ([-1.0, -2.0], [-3.0, -3.0])),
    # I = 0.5 and 2
    "d": ("validation", "kitchen", ([-1.0], [-1.5]), ([-2.0, -2.0, -2.0, -2.0], [-4.0, -4.0, -4.0, -4.0])),
}


def pairs_table() -> pa.Table:
    """The pairs, out of order, with the keys that their sequences have."""
    rows = [
        {
            "pair_id": name,
            "prompt": [{"role": "user", "content": f"prompt {name}"}],
            "chosen": f"chosen {name}",
            "rejected": f"rejected {name}",
            "split": split,
            "source": "by hand",
            "category": category,
            "meta": "{}",
        }
        for name, (split, category, _, _) in reversed(LOGPS.items())
    ]
    table = pa.Table.from_pylist(rows, PAIRS)
    for key in ("chosen", "rejected", "null_chosen", "null_rejected"):
        keys = [f"{row['pair_id']} {key}" for row in rows]
        table = table.append_column(f"{key}_key", pa.array(keys, pa.string()))
    return table


def shard_paths(folder: Path) -> list[Path]:
    """Two shards with every sequence that the pairs ask for, and one that nobody asks for."""
    records = [
        {"key": f"{name} {key}", "logp_sum": sum(logps), "n_tokens": len(logps), "logps": logps}
        for name, (_, _, chosen, rejected) in LOGPS.items()
        for key, logps in zip(("chosen", "null_chosen", "rejected", "null_rejected"), (*chosen, *rejected), strict=True)
    ]
    records.append({"key": "of another run", "logp_sum": -1.0, "n_tokens": 1, "logps": [-1.0]})
    assert set(records[0]) == set(SEQUENCES.names)
    shards = Shards(folder / "shards")
    shards.write(records[:7])
    shards.write(records[7:])
    return shards.paths()


def store(folder: Path) -> Path:
    """Write `scores.duckdb` and `scored_pairs.parquet` into a folder; the DuckDB file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scores.duckdb"
    scored = merge(path, pairs=pairs_table(), shards=shard_paths(folder))
    write_parquet(scored, folder / "scored_pairs.parquet")
    return path
