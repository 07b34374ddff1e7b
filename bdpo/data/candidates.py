"""Accepted rows on disk until all are seen: duplicates found and pairs sorted in bounded memory."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.artifacts.duck import connect, literal
from bdpo.data.rows import Candidate, RawRow
from bdpo.data.sampling import Kind
from bdpo.data.splits import PairIdentity
from bdpo.schemas import PAIRS, QUARANTINE

BATCH_ROWS = 8192
"""Rows in memory at a time, and in a row group of what is written."""
_MEMORY_LIMIT = "1GiB"
_ORIGIN = pa.struct([pa.field("file", pa.string()), pa.field("line", pa.int64()), pa.field("row", pa.binary())])
"""A row that a pair was made of: one, or two where single responses were paired."""
_FACTS = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("unordered_id", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("origins", pa.list_(_ORIGIN)),
        pa.field("chosen_chars", pa.int64()),
        pa.field("rejected_chars", pa.int64()),
    ]
)
_SCHEMA = pa.schema([*_FACTS, *PAIRS])
_TEXT_OF_RULE = {
    "contradictory_labels": "'the pair is here with either side preferred'",
    "duplicate": "'the same pair as ' || first.origins[1].file || ':' || first.origins[1].line",
}


@dataclass(frozen=True)
class Accepted:
    """A candidate that every row rule let pass."""

    rows: tuple[RawRow, ...]
    """The rows that it was made of."""
    source: str
    pair: Candidate
    identity: PairIdentity
    meta: str | None


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


class CandidateFile:
    """Candidates in a scratch folder, which is emptied first and may be deleted after."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._path = folder / "candidates.parquet"
        self._writer = pq.ParquetWriter(self._path, _SCHEMA, compression="lz4", use_dictionary=["source"])
        self._rows = 0

    def add(self, accepted: list[Accepted]) -> None:
        """Append candidates."""
        if not accepted:
            return
        columns: dict[str, Any] = {
            "seq": range(self._rows, self._rows + len(accepted)),
            "unordered_id": [a.identity.unordered_id for a in accepted],
            "prompt_id": [a.identity.prompt_id for a in accepted],
            "origins": [[{"file": r.file, "line": r.line, "row": r.raw} for r in a.rows] for a in accepted],
            "chosen_chars": [len(a.pair.chosen) for a in accepted],
            "rejected_chars": [len(a.pair.rejected) for a in accepted],
            "pair_id": [a.identity.pair_id for a in accepted],
            "split": [a.identity.split for a in accepted],
            "source": [a.source for a in accepted],
            "meta": [a.meta for a in accepted],
        }
        for name in ("prompt", "chosen", "rejected", "category", "chosen_safe", "rejected_safe"):
            columns[name] = [getattr(a.pair, name) for a in accepted]
        arrays = [pa.array(columns[field.name], field.type) for field in _SCHEMA]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
        self._rows += len(accepted)

    @contextmanager
    def resolve(self) -> "Iterator[Resolved]":
        """Close the file and decide: the first of equal pairs stays, none of a pair labelled both ways."""
        self._writer.close()
        with connect(self._folder / "candidates.duckdb") as connection:
            connection.execute(f"set memory_limit = '{_MEMORY_LIMIT}'")
            connection.execute(f"set temp_directory = {literal(self._folder / 'spill')}")
            connection.execute(
                "create table verdicts as select seq, first, case when both_ways then 'contradictory_labels' "
                "when first < seq then 'duplicate' end as rule from (select seq, "
                "min(seq) over (partition by pair_id) as first, "
                "min(pair_id) over (partition by unordered_id) <> max(pair_id) over (partition by unordered_id) "
                f"as both_ways from read_parquet({literal(self._path)}))"
            )
            yield Resolved(connection, self._path)


class Resolved:
    """What becomes of the candidates; only inside `CandidateFile.resolve`."""

    def __init__(self, connection: Any, path: Path) -> None:
        self._connection = connection
        self._candidates = (
            f"(select c.*, v.rule, v.first from read_parquet({literal(path)}) c join verdicts v using (seq))"
        )
        self._path = path

    def figures(self) -> KeptFigures:
        """Counts and median of the pairs that stay."""
        [(pairs, rows, unsafe)] = self._connection.execute(
            "select count(*), coalesce(sum(len(origins)), 0)::bigint, count(*) filter (where rejected_safe = false) "
            f"from {self._candidates} where rule is null"
        ).fetchall()
        [(median,)] = self._connection.execute(
            "select median(chars) from (select unnest([chosen_chars, rejected_chars]) as chars "
            f"from {self._candidates} where rule is null)"
        ).fetchall()
        return KeptFigures(pairs, rows, unsafe, float(median or 0.0))

    def refused(self) -> Iterator[pa.Table]:
        """Rows of QUARANTINE for duplicates and contradictions, as they came."""
        reason = " ".join(f"when {literal(rule)} then {text}" for rule, text in _TEXT_OF_RULE.items())
        return self._tables(
            f"select origin.file, origin.line, rule, reason, origin.row from (select c.seq, c.rule, "
            f"case c.rule {reason} end as reason, unnest(c.origins) as origin from {self._candidates} c "
            f"join (select seq, origins from read_parquet({literal(self._path)})) first on first.seq = c.first "
            "where c.rule is not null) order by seq, origin.file, origin.line",
            QUARANTINE,
        )

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
            f"from {self._candidates} where rule is null group by prompt_id"
        ).fetchall():
            if labelled:
                kinds[prompt] = "unsafe" if unsafe else "safe"
            else:
                unlabelled += 1
        before = self.figures().rows
        self._connection.register("drawn_ids", pa.table({"prompt_id": sorted(sample(kinds, unlabelled))}))
        self._connection.execute("create table drawn as select prompt_id from drawn_ids")
        self._connection.unregister("drawn_ids")
        self._candidates = (
            f"(select * replace (case when rule is null and prompt_id not in (select prompt_id from drawn) "
            f"then 'left out' else rule end as rule) from {self._candidates})"
        )
        return before - self.figures().rows

    def kept(self) -> Iterator[pa.Table]:
        """Rows of PAIRS by `pair_id`, `BATCH_ROWS` at a time."""
        columns = ", ".join(PAIRS.names)
        return self._tables(f"select {columns} from {self._candidates} where rule is null order by pair_id", PAIRS)

    def _tables(self, query: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """Tables of exactly BATCH_ROWS rows but the last, however DuckDB cuts its batches."""
        pending: list[pa.Table] = []
        waiting = 0
        for batch in self._connection.sql(query).to_arrow_reader(BATCH_ROWS):
            pending.append(pa.Table.from_batches([batch]).cast(schema))
            waiting += batch.num_rows
            while waiting >= BATCH_ROWS:
                table = pa.concat_tables(pending)
                yield table.slice(0, BATCH_ROWS)
                waiting -= BATCH_ROWS
                pending = [table.slice(BATCH_ROWS)]
        if waiting:
            yield pa.concat_tables(pending)
