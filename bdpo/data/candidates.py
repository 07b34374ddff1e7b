"""What becomes of candidate pairs: row rules, duplicates and contradictions, found on disk in bounded memory."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.artifacts.duck import bounded, connect, exact_files, literal
from bdpo.data.drift import measure_drift
from bdpo.data.near_search import SEQ, refuse_near_duplicates
from bdpo.data.prepare import FACTS, Prepared
from bdpo.data.rows import RowProblem
from bdpo.data.sampling import Kind
from bdpo.data.spool import NUM_BUCKETS, Spooled, SpoolReader
from bdpo.schemas import PAIRS, QUARANTINE, DriftFigures

BATCH_ROWS = 8192
"""Rows in a row group of what is written."""
_SORTED_ROWS = 4 * BATCH_ROWS
"""Rows that are sorted at a time."""
_MEMORY_MIB = 1024
_PROBLEMS = pa.schema([("block", pa.int64()), ("row", pa.int32()), ("rule", pa.string()), ("reason", pa.string())])
_OF_EQUALS = (
    ("both_ways", "contradictory_labels", "'the pair is here with either side preferred'"),
    ("both_labels", "contradictory_labels", "'the pair is here with a response labelled safe and labelled unsafe'"),
    ("first < passed.seq", "duplicate", "'the same pair as ' || origin.file || ':' || origin.line"),
)
"""What refuses one of several equal pairs: the condition, the rule and the reason, in SQL."""


@dataclass(frozen=True)
class KeptFigures:
    """What is known of the pairs that stay."""

    pairs: int
    rows: int
    """Rows that they were made of."""
    unsafe_rejected: int
    """Pairs whose rejected response is labelled unsafe."""
    median_response_chars: float
    """Over both responses of every pair; 0 without pairs."""


class Candidates:
    """Facts of candidates in a scratch folder, which is emptied first and may be deleted after."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._facts = pq.ParquetWriter(folder / "facts.parquet", FACTS, compression="lz4")
        self._problems = pq.ParquetWriter(folder / "problems.parquet", _PROBLEMS, compression="lz4")
        self._blocks: dict[int, Spooled] = {}

    def add(self, prepared: Prepared) -> None:
        """Note the pairs of a block."""
        if prepared.spooled is not None:
            self._blocks[prepared.number] = prepared.spooled
            self._facts.write_table(prepared.facts)

    def refuse(self, pairs: Sequence[tuple[int, int]], problems: Sequence[RowProblem]) -> None:
        """Refuse pairs, by block and row and each once, before any rule of a tokenizer."""
        found = zip(pairs, problems, strict=True)
        rows = [(block, row, problem.rule, problem.reason) for (block, row), problem in found]
        arrays = [
            pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _PROBLEMS, strict=False)
        ]
        if rows:
            self._problems.write_table(pa.Table.from_arrays(arrays, schema=_PROBLEMS))

    @contextmanager
    def resolve(self, near_duplicates: float | None = None) -> "Iterator[Resolved]":
        """Decide: of the pairs that no rule refuses the first of equals stays, none that is labelled both ways.

        Both ways: preferred on either side, or with a response that is called safe and unsafe.

        Args:
            near_duplicates: the similarity from which on a pair that comes after another is refused; None: none is.
        """
        self._facts.close()
        self._problems.close()
        facts, problems = (
            f"read_parquet({exact_files(self._folder / name)})" for name in ("facts.parquet", "problems.parquet")
        )
        rules = " ".join(f"when {condition} then {literal(rule)}" for condition, rule, _ in _OF_EQUALS)
        reasons = " ".join(f"when {condition} then {reason}" for condition, _, reason in _OF_EQUALS)
        with (
            connect(self._folder / "candidates.duckdb") as connection,
            bounded(connection, memory_mib=_MEMORY_MIB, spill=self._folder / "spill"),
            SpoolReader(self._blocks) as spool,
        ):
            connection.execute(
                f"create table problems as select {SEQ} as seq, coalesce(p.rule, f.rule) as rule, "
                f"coalesce(p.reason, f.reason) as reason from {facts} f left join {problems} p using (block, row) "
                "where p.rule is not null or f.rule is not null"
            )
            connection.execute(
                f"create table passed as select {SEQ} as seq, min({SEQ}) over equal as first, "
                "min(pair_id) over turned <> max(pair_id) over turned as both_ways, "
                "min(chosen_safe) over equal <> max(chosen_safe) over equal "
                "or min(rejected_safe) over equal <> max(rejected_safe) over equal as both_labels "
                f"from {facts} where {SEQ} not in (select seq from problems) "
                "window equal as (partition by pair_id), turned as (partition by unordered_id)"
            )
            connection.execute(
                f"insert into problems select * from (select passed.seq, case {rules} end as rule, case {reasons} end "
                f"from passed join (select {SEQ} as seq, file, line from {facts}) origin on origin.seq = first) "
                "where rule is not null"
            )
            if near_duplicates is not None:
                refuse_near_duplicates(connection, spool, facts, near_duplicates)
            connection.execute(
                f"create table verdicts as select {SEQ} as seq, f.* exclude (rule, reason, bands), p.rule, p.reason "
                f"from {facts} f left join problems p on p.seq = {SEQ} order by bucket, pair_id"
            )
            yield Resolved(connection, spool)


class Resolved:
    """What becomes of the candidates; only inside `Candidates.resolve`."""

    def __init__(self, connection: Any, spool: SpoolReader) -> None:
        self._connection = connection
        self._spool = spool

    def figures(self) -> KeptFigures:
        """Counts and median of the pairs that stay."""
        [(pairs, rows, unsafe)] = self._connection.execute(
            "select count(*), coalesce(sum(num_rows), 0)::bigint, count(*) filter (where rejected_safe = false) "
            "from verdicts where rule is null"
        ).fetchall()
        [(median,)] = self._connection.execute(
            "select median(chars) from (select unnest([chosen_chars, rejected_chars]) as chars "
            "from verdicts where rule is null)"
        ).fetchall()
        return KeptFigures(pairs, rows, unsafe, float(median or 0.0))

    def drift(self, previous: Path) -> DriftFigures:
        """How far the pairs that stay lie from those of an earlier artifact."""
        columns = "chosen_chars, rejected_chars, rejected_safe, category"
        return measure_drift(self._connection, f"(select {columns} from verdicts where rule is null)", previous)

    def refused(self) -> Iterator[pa.Table]:
        """Rows of QUARANTINE of refused pairs, as they came."""
        reader = self._connection.sql(
            "select block, row, bucket, rule, reason from verdicts where rule is not null order by seq"
        ).to_arrow_reader(BATCH_ROWS)
        for batch in reader:
            yield _quarantined(batch, self._spool)

    def draw(self, sample: Callable[[Mapping[str, Kind], int], set[str]]) -> int:
        """Keep only the pairs of drawn prompts.

        Args:
            sample: from the kind of every labelled prompt, and the number of unlabelled ones, the prompts to keep.

        Returns:
            Rows that pairs were made of that are left out.
        """
        kinds: dict[str, Kind] = {}
        unlabelled = 0
        for prompt, unsafe, labelled in self._connection.execute(
            "select prompt_id, coalesce(bool_or(rejected_safe = false), false), bool_or(rejected_safe is not null) "
            "from verdicts where rule is null group by prompt_id"
        ).fetchall():
            if labelled:
                kinds[prompt] = "unsafe" if unsafe else "safe"
            else:
                unlabelled += 1
        before = self.figures().rows
        self._connection.register("drawn", pa.table({"prompt_id": sorted(sample(kinds, unlabelled))}))
        self._connection.execute(
            "update verdicts set rule = 'left out' "
            "where rule is null and prompt_id not in (select prompt_id from drawn)"
        )
        self._connection.unregister("drawn")
        return before - self.figures().rows

    def kept(self) -> Iterator[pa.Table]:
        """Rows of PAIRS by `pair_id`, exactly `BATCH_ROWS` at a time but at the end."""
        pending = PAIRS.empty_table()
        for table in self._sorted():
            pending = pa.concat_tables([pending, table])
            whole = pending.num_rows - pending.num_rows % BATCH_ROWS
            for start in range(0, whole, BATCH_ROWS):
                yield pending.slice(start, BATCH_ROWS)
            pending = pending.slice(whole)
        if pending.num_rows:
            yield pending

    def _sorted(self) -> Iterator[pa.Table]:
        for bucket in range(NUM_BUCKETS):
            kept = self._connection.execute(
                "select block, row from verdicts where rule is null and bucket = ? order by pair_id", [bucket]
            ).fetchnumpy()
            for start in range(0, len(kept["row"]), _SORTED_ROWS):
                piece = slice(start, start + _SORTED_ROWS)
                yield self._texts(bucket, kept["block"][piece], kept["row"][piece])

    def _texts(self, bucket: int, blocks: Any, rows: Any) -> pa.Table:
        """Rows of PAIRS of a bucket, by `pair_id`."""
        parts = []
        for block in np.unique(blocks):
            batch = self._spool.texts(int(block), bucket)
            parts.append(batch.filter(pa.array(np.isin(batch["row"].to_numpy(), rows[blocks == block]))))
        return pa.Table.from_batches(parts).sort_by("pair_id").select(PAIRS.names).cast(PAIRS)


def _quarantined(refused: pa.RecordBatch, spool: SpoolReader) -> pa.Table:
    """Rows of QUARANTINE of refused pairs (block, row, bucket, rule, reason)."""
    pairs = refused.to_pylist()
    wanted: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for pair in pairs:
        wanted[pair["block"], pair["bucket"]].append(pair["row"])
    origins: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for (block, bucket), rows in wanted.items():
        batch = spool.origins(block, bucket)
        batch = batch.filter(pa.array(np.isin(batch["row"].to_numpy(), rows)))
        origins.update({(block, row["row"]): row["origins"] for row in batch.to_pylist()})
    refusals = [
        {"rule": pair["rule"], "reason": pair["reason"], **origin}
        for pair in pairs
        for origin in origins[pair["block"], pair["row"]]
    ]
    return pa.Table.from_pylist(refusals, QUARANTINE)
