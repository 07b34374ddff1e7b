"""The score store at size: shards to DuckDB, and questions to it.

    python -m benchmarks.store                      # a million pairs, four million sequences
    python -m benchmarks.store --json --pairs 50000

Shards of made-up sequences are written first, which is not timed.  Then, each in seconds: `sweep_s` tells
whole shards from damaged ones, `find_s` looks all keys up, `merge_s` builds `scores.duckdb` and gives
`merge_sequences_per_s`, `merge_parquet_s` writes `scored_pairs.parquet`.  Queries run on a new connection,
the first time (`_first_s`) and the best of three more (`_s`), with the weights of `bdpo`: `aggregate` on the view
`scored_pairs` of `scores.duckdb`, `catalogue` on the one of the catalogue.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bdpo.artifacts.catalogue import CATALOGUE, Columns, rebuild_catalogue
from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.duck import connect
from bdpo.artifacts.manifest import MANIFEST
from bdpo.artifacts.parquet import write_parquet
from bdpo.balance import method_forms, weights_sql
from bdpo.config import ScoreSettings, TrainSettings
from bdpo.schemas import PAIRS, SEQUENCES
from bdpo.scoring.merge import merge
from bdpo.scoring.sequences import PairKeys
from bdpo.scoring.shards import Shards

_SIDES = ("chosen", "rejected")
_TOKENS = (16, 97)
_PROMPTS_EACH = 3  # pairs a prompt
_CHUNK = 50_000

AGGREGATE = """
SELECT
    category, count(*) AS pairs, avg(mi_chosen), avg(mi_rejected), avg(abs(imbalance)), quantile_cont(imbalance, 0.5),
    avg(scale * weight_chosen), avg(CAST(ref_chosen_logps < ref_rejected_logps AS INT))
FROM {scored} GROUP BY category ORDER BY category
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Build a store, ask it, print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000, help="scored pairs (default: a million)")
    parser.add_argument("--shard-sequences", type=int, default=ScoreSettings().shard_sequences, help="as in score")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    if options.pairs < 1 or options.shard_sequences < 1:
        parser.error("--pairs and --shard-sequences are at least 1")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.pairs, options.shard_sequences)
    if options.json:
        print(json.dumps(figures))  # noqa: T201
        return
    for name, value in figures.items():
        print(f"{name:24} {value:,}")  # noqa: T201


def measure(root: Path, num_pairs: int, shard_sequences: int) -> dict[str, float]:
    """The figures that the module's docstring names, for a store built below `root`."""
    folder = root / "score" / "made-up"
    folder.mkdir(parents=True)
    pairs = make_pairs(num_pairs)
    shards = Shards(root / "shards")
    for table in sequence_tables(pairs, shard_sequences):
        new = root / "new.parquet"
        write_parquet(table, new)
        new.rename(root / "shards" / f"{digest_file(new)}.parquet")
    asked = {key for name in PairKeys._fields for key in pairs.column(name).to_pylist()}
    clock = _Clock()
    assert not shards.sweep()
    clock.lap("sweep_s")
    assert shards.find(asked, swept=True) == asked
    clock.lap("find_s")
    weights = weights_sql(forms=method_forms("bdpo"), mi_floor=TrainSettings().mi_floor, tau=TrainSettings().tau)
    store = folder / "scores.duckdb"
    scored = merge(store, pairs=pairs, shards=shards.paths())
    clock.lap("merge_s")
    write_parquet(scored, folder / "scored_pairs.parquet")
    clock.lap("write_parquet_s")
    columns = ", ".join(name for name in scored.column_names if not name.endswith("_key"))
    (folder / MANIFEST).write_text("{}")
    rebuild_catalogue(root, {"score": folder.name}, {"scored_pairs": Columns(columns, weights)})
    clock.lap("catalogue_built_s")
    weighed = f"(SELECT *, {weights} FROM scored_pairs)"
    for name, path, scored_pairs in (("aggregate", store, weighed), ("catalogue", root / CATALOGUE, "scored_pairs")):
        aggregate = AGGREGATE.format(scored=scored_pairs)
        with connect(path, read_only=True) as connection:
            clock.start()
            rows = connection.execute(aggregate).fetchall()
            clock.lap(f"{name}_first_s")
            assert sum(row[1] for row in rows) == num_pairs
            times = []
            for _ in range(3):
                started = time.perf_counter()
                connection.execute(aggregate).fetchall()
                times.append(time.perf_counter() - started)
            clock.laps[f"{name}_s"] = round(min(times), 3)
    sequences = len(asked)
    return {
        "pairs": num_pairs,
        "sequences": sequences,
        "shards": len(shards.paths()),
        **clock.laps,
        "merge_sequences_per_s": round(sequences / clock.laps["merge_s"]),
        "shards_mb": _megabytes(*shards.paths()),
        "scores_duckdb_mb": _megabytes(store),
        "scored_pairs_parquet_mb": _megabytes(folder / "scored_pairs.parquet"),
        "bytes_a_pair": round(store.stat().st_size / num_pairs),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 1e6),
    }


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class _Clock:
    """Seconds of each part, one after the other."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        self.laps[name] = round(time.perf_counter() - self._last, 3)
        self.start()


def make_pairs(number: int) -> pa.Table:
    """Pairs with texts of usual length and random keys: columns of PAIRS and the four keys."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(500)])

    def texts(count: int, length: int) -> list[str]:
        return [" ".join(row) for row in words[rng.integers(0, len(words), (count, length))]]

    prompts = texts(-(-number // _PROMPTS_EACH), 12)
    columns: dict[str, Any] = {
        "pair_id": sorted(_hex(rng, number)),
        "prompt": [[{"role": "user", "content": prompts[i // _PROMPTS_EACH]}] for i in range(number)],
        "chosen": texts(number, 30),
        "rejected": texts(number, 30),
        "split": np.where(rng.random(number) < 0.05, "validation", "train").tolist(),
        "source": ["made-up"] * number,
        "category": [f"category {i}" for i in rng.integers(0, 12, number)],
        "chosen_safe": [True] * number,
        "rejected_safe": [False] * number,
        "meta": ["{}"] * number,
    }
    table = pa.table(columns, PAIRS)
    for name in PairKeys._fields:
        table = table.append_column(name, pa.array(_hex(rng, number), pa.string()))
    return table


def sequence_tables(pairs: pa.Table, size: int) -> Iterator[pa.Table]:
    """The sequences that `pairs` ask for, `size` at a time; a pair's side has one length with and without prompt."""
    rng = np.random.default_rng(1)
    for start in range(0, pairs.num_rows, _CHUNK):
        part = pairs.slice(start, _CHUNK)
        for side in _SIDES:
            lengths = rng.integers(*_TOKENS, part.num_rows, dtype=np.int32)
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            for name, mean in ((f"{side}_key", 2.0), (f"null_{side}_key", 2.7)):
                logps = -rng.exponential(mean, offsets[-1]).astype(np.float32)
                sums = np.add.reduceat(logps, offsets[:-1], dtype=np.float64)
                table = pa.table(
                    {
                        "key": part.column(name),
                        "logp_sum": sums,
                        "n_tokens": lengths,
                        "logps": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(logps)),
                    },
                    SEQUENCES,
                )
                for first in range(0, table.num_rows, size):
                    yield table.slice(first, size)


def _hex(rng: np.random.Generator, number: int) -> list[str]:
    text = rng.bytes(32 * number).hex()
    return [text[i : i + 64] for i in range(0, len(text), 64)]


def _megabytes(*paths: Path) -> float:
    return round(sum(path.stat().st_size for path in paths) / 1e6, 1)


if __name__ == "__main__":
    main()
