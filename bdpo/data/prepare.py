"""A block of raw rows to pairs on disk and what is to be known of them: all that needs no other block."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from bdpo.config import ModelSettings
from bdpo.data.blocks import BLOCK_ROWS, Block
from bdpo.data.files import without_kind
from bdpo.data.measures import measure
from bdpo.data.near import bands
from bdpo.data.overlap import EvaluationPrompts
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem
from bdpo.data.sources import Shape
from bdpo.data.splits import identify
from bdpo.data.spool import ORIGINS, ROW, TEXTS, Spool, Spooled, bucket_of
from bdpo.layout.refusals import RefusalFinder, Sides
from bdpo.schemas import MEASURES, MESSAGE, PAIRS, QUARANTINE

FACTS = pa.schema(
    [
        pa.field("block", pa.int64(), nullable=False),
        ROW,
        pa.field("bucket", pa.int16(), nullable=False),
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("unordered_id", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("num_rows", pa.int32(), nullable=False),
        pa.field("chosen_chars", pa.int64(), nullable=False),
        pa.field("rejected_chars", pa.int64(), nullable=False),
        pa.field("chosen_safe", pa.bool_()),
        pa.field("rejected_safe", pa.bool_()),
        pa.field("category", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("bands", pa.list_(pa.int64())),
    ]
)
"""What duplicates, figures and samples are found by: one row a pair; `file` and `line` of its first row, the
rows that it was made of, the rule and reason of what refuses it by itself, and where near-duplicates are looked
for, values of which they have one in common."""


class Task(NamedTuple):
    """One block of one source."""

    number: int
    """Counts the blocks of all sources."""
    shape: Shape
    source: str | None
    """Value of the column `source`; None: the name of each row's file."""
    rows: Block | list[Parsed]
    """Raw, or already paired."""


class Prepared(NamedTuple):
    """What became of a block's rows."""

    number: int
    num_rows: int
    left_out: int
    """Rows that the source's weight leaves out."""
    seen: set[str]
    """Of the shape's optional columns those that some row has."""
    refused: pa.Table
    """QUARANTINE: rows that are no pair."""
    facts: pa.Table
    """FACTS of the others."""
    measures: pa.Table
    """MEASURES of the others."""
    spooled: Spooled | None
    """Where the others are; None: there are none."""


@dataclass
class Preparer:
    """Does it, in this process or in another."""

    tokenizer: PreTrainedTokenizerBase
    model: ModelSettings
    validation_fraction: float
    seed: int
    folder: Path
    """A scratch folder."""
    evaluation: EvaluationPrompts
    near_duplicates: float | None
    """The similarity of near-duplicates, where they are looked for."""

    def start(self) -> Callable[[Task], Prepared]:
        """What prepares blocks in this process."""
        finder = RefusalFinder(
            self.tokenizer, max_length=self.model.max_length, max_prompt_length=self.model.max_prompt_length
        )
        spool = Spool(self.folder)

        def prepare(task: Task) -> Prepared:
            parsed = iter(task.rows) if isinstance(task.rows, list) else task.shape.parse(task.rows.rows())
            return self._prepare(task, parsed, finder, spool)

        return prepare

    def _prepare(self, task: Task, parsed: Iterator[Parsed], finder: RefusalFinder, spool: Spool) -> Prepared:
        num_rows = left_out = start = 0
        unseen = task.shape.optional_columns
        refused = [refusals([])]  # of a block that holds blank lines alone there is no other
        parts: list[tuple[pa.Table, pa.Table, pa.Table, pa.Table]] = []
        while chunk := list(islice(parsed, BLOCK_ROWS)):
            num_rows += sum(len(rows) for rows, _ in chunk)
            left_out += sum(len(rows) for rows, outcome in chunk if outcome is None)
            unseen = unseen.difference(*(raw.value for rows, _ in chunk for raw in rows if isinstance(raw.value, dict)))
            refused.append(refusals((rows, outcome) for rows, outcome in chunk if isinstance(outcome, RowProblem)))
            pairs = [(rows, outcome) for rows, outcome in chunk if isinstance(outcome, Candidate)]
            if pairs:
                parts.append(self._columns(task, start, pairs, finder))
                start += len(pairs)
        counted = task.number, num_rows, left_out, task.shape.optional_columns - unseen, pa.concat_tables(refused)
        if not parts:
            nothing = FACTS.empty_table(), MEASURES.empty_table()
            return Prepared(*counted, *nothing, None)
        texts, origins, facts, measures = (pa.concat_tables(tables) for tables in zip(*parts, strict=True))
        order = pc.sort_indices(texts["pair_id"])
        spooled = spool.write(*(table.take(order).combine_chunks().to_batches()[0] for table in (texts, origins)))
        return Prepared(*counted, facts, measures, spooled)

    def _columns(
        self, task: Task, start: int, parsed: Sequence[tuple[tuple[RawRow, ...], Candidate]], finder: RefusalFinder
    ) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
        """TEXTS, ORIGINS, FACTS and MEASURES of pairs."""
        num = len(parsed)
        origins = [rows for rows, _ in parsed]
        pairs = [pair for _, pair in parsed]
        identities = [identify(pair, validation_fraction=self.validation_fraction, seed=self.seed) for pair in pairs]
        problems = self._problems(pairs, finder)
        columns: dict[str, Any] = {
            "block": np.full(num, task.number),
            "row": np.arange(start, start + num, dtype=np.int32),
            "bucket": [bucket_of(identity.pair_id) for identity in identities],
            "file": [rows[0].file for rows in origins],
            "line": [rows[0].line for rows in origins],
            "num_rows": [len(rows) for rows in origins],
            "chosen_chars": [len(pair.chosen) for pair in pairs],
            "rejected_chars": [len(pair.rejected) for pair in pairs],
            "rule": [None if problem is None else problem.rule for problem in problems],
            "reason": [None if problem is None else problem.reason for problem in problems],
            "bands": [None] * num if self.near_duplicates is None else list(bands(pairs, self.near_duplicates)),
            "prompt": _prompts(pairs),
            "source": [task.source or without_kind(rows[0].file) for rows in origins],
            "meta": [_meta(pair.meta) if pair.meta else None for pair in pairs],
            "origins": _origins(origins),
        }
        for name in ("pair_id", "unordered_id", "prompt_id", "split"):
            columns[name] = [getattr(identity, name) for identity in identities]
        for name in ("chosen", "rejected", "category", "chosen_safe", "rejected_safe"):
            columns[name] = [getattr(pair, name) for pair in pairs]

        def table(schema: pa.Schema) -> pa.Table:
            arrays = [pa.array(columns[field.name], field.type) for field in schema]
            return pa.Table.from_arrays(arrays, schema=schema)

        return table(TEXTS), table(ORIGINS), table(FACTS), measure(pairs)

    def _problems(self, pairs: Sequence[Candidate], finder: RefusalFinder) -> list[RowProblem | None]:
        """What refuses each pair by itself, beside its measures."""
        found = finder.find([Sides(pair.prompt, pair.chosen, pair.rejected) for pair in pairs])
        problems = [None if problem is None else RowProblem(problem.rule, problem.reason) for problem in found]
        if self.evaluation:
            both = zip(problems, pairs, strict=True)
            problems = [problem or self.evaluation.find(pair.prompt) for problem, pair in both]
        return problems


def refusals(refused: Iterable[tuple[tuple[RawRow, ...], RowProblem]]) -> pa.Table:
    """Rows of QUARANTINE: those of a pair together with its problem."""
    rows = [
        {"file": raw.file, "line": raw.line, "rule": problem.rule, "reason": problem.reason, "row": raw.raw}
        for raws, problem in refused
        for raw in raws
    ]
    return pa.Table.from_pylist(rows, QUARANTINE)


def _meta(fields: dict[str, Any]) -> str:
    """A row's other fields as JSON that any reader takes, without NaN and without halves of surrogate pairs."""
    written = json.dumps(fields, default=str)
    try:
        orjson.loads(written)
    except orjson.JSONDecodeError:
        # By what reads and writes JSON alone: a walk of our own would end at a depth that these can do.
        finite = json.loads(written, parse_constant=lambda _: None)
        text = json.dumps(finite, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        written = json.dumps(json.loads(text))
    return written


def _prompts(pairs: Sequence[Candidate]) -> pa.ListArray:
    messages = list(chain.from_iterable(pair.prompt for pair in pairs))
    roles = pa.array([message["role"] for message in messages], pa.string())
    contents = pa.array([message["content"] for message in messages], pa.string())
    offsets = _offsets([len(pair.prompt) for pair in pairs])
    values = pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGE))
    return pa.ListArray.from_arrays(offsets, values, type=PAIRS.field("prompt").type)


def _origins(origins: Sequence[tuple[RawRow, ...]]) -> pa.ListArray:
    rows = list(chain.from_iterable(origins))
    kind = ORIGINS.field("origins").type
    columns = {"file": [row.file for row in rows], "line": [row.line for row in rows], "row": [row.raw for row in rows]}
    arrays = [pa.array(columns[field.name], field.type) for field in kind.value_type]
    values = pa.StructArray.from_arrays(arrays, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(_offsets([len(rows) for rows in origins]), values, type=kind)


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
