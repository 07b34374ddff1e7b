"""Stage 1, ingest: every raw row ends in `pairs.parquet` or in `quarantine.parquet`."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.store import note_progress
from bdpo.config import IngestSettings, ModelSettings, SampleSettings, SourceSettings
from bdpo.data.files import data_files
from bdpo.data.hub import hub_rows
from bdpo.data.readers import read_rows
from bdpo.data.rows import Candidate, RawRow, RowProblem
from bdpo.data.sampling import sample_prompts
from bdpo.data.sources import read_source
from bdpo.data.splits import pair_id, split_of, unordered_id
from bdpo.errors import UserError
from bdpo.layout.chat import Untokenizable, tokenize_pair
from bdpo.progress import Progress
from bdpo.schemas import PAIRS, QUARANTINE, Checks

_CHUNK_ROWS = 4096


class _Accepted(NamedTuple):
    """A pair, the rows that it was made of, and the name of its source."""

    rows: tuple[RawRow, ...]
    source: str
    pair: Candidate


class _Ledger:
    """Accepted pairs and refused rows; what goes in comes out in one of the two, or is left out as asked."""

    def __init__(self) -> None:
        self.rows = 0
        self.pairs: list[_Accepted] = []
        self.refused: list[dict[str, Any]] = []
        self.left_out: Counter[str] = Counter(weight=0, sample=0)

    def refuse(self, rows: Iterable[RawRow], problem: RowProblem) -> None:
        self.refused += (
            {"file": row.file, "line": row.line, "rule": problem.rule, "reason": problem.reason, "row": row.raw}
            for row in rows
        )

    def num_paired(self) -> int:
        """Rows that accepted pairs were made of."""
        return sum(len(accepted.rows) for accepted in self.pairs)

    def check_sum(self) -> None:
        assert self.rows == self.num_paired() + len(self.refused) + self.left_out.total(), "a row was lost"


def ingest(
    *,
    settings: IngestSettings,
    model: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    workdir: Path,
    checks: Checks,
    progress: Progress,
) -> dict[str, Any]:
    """Read, check, deduplicate and split preference rows.

    Args:
        settings: sources, split and thresholds.
        model: truncation lengths.
        tokenizer: of the model that the pairs are for; a pair that it cannot lay out is refused.
        workdir: gets `pairs.parquet`, `quarantine.parquet` and `data_docs/`.
        checks: row and set rules.
        progress: where to show what happens.

    Returns:
        Counts: rows, pairs, paired_rows (two a pair where single responses were paired), quarantined,
        left_out (rows by `weight` and by `sample`; rows = paired_rows + quarantined + those), by_rule,
        by_split, by_source, num_categories.

    Raises:
        UserError: a source cannot be read, or too little of it is usable.
    """
    ledger = _Ledger()
    progress.begin("ingest", len(settings.sources), "sources")
    for source in settings.sources:
        _read(source, ledger, settings, model, tokenizer, checks)
        progress.advance(1, rows=ledger.rows)
    _resolve_duplicates(ledger)
    ledger.check_sum()
    note_progress(workdir, len(settings.sources), len(settings.sources), "sources")

    rules = Counter(row["rule"] for row in ledger.refused)
    failures = checks.pair_set(
        pairs=len(ledger.pairs),
        rows=ledger.num_paired() + len(ledger.refused),
        quarantined=len(ledger.refused),
        min_pairs=settings.min_pairs,
        max_quarantined_fraction=settings.max_quarantined_fraction,
    )
    checks.write_docs(workdir / "data_docs")
    quarantine = workdir / "quarantine.parquet"
    _write(pa.Table.from_pylist(ledger.refused, QUARANTINE), quarantine)
    if failures:
        common = ", ".join(f"{rule} ({count})" for rule, count in rules.most_common(3)) or "none"
        failure = failures[0]
        raise UserError(
            f"ingest: {failure.rule} is {failure.observed}, allowed is {failure.allowed}; of {ledger.rows} rows "
            f"{len(ledger.refused)} were refused, most often by: {common}; they are in {quarantine}."
        )
    if settings.sample is not None:
        _sample(ledger, settings.sample, settings.seed)
    records = [_record(accepted, settings) for accepted in ledger.pairs]
    records.sort(key=lambda record: record["pair_id"])
    _write(pa.Table.from_pylist(records, PAIRS), workdir / "pairs.parquet")
    return {
        "rows": ledger.rows,
        "pairs": len(records),
        "paired_rows": ledger.num_paired(),
        "quarantined": len(ledger.refused),
        "left_out": dict(ledger.left_out),
        "by_rule": dict(rules.most_common()),
        "by_split": dict(Counter(record["split"] for record in records)),
        "by_source": dict(Counter(record["source"] for record in records)),
        "num_categories": len({record["category"] for record in records} - {None}),
    }


def _read(
    source: SourceSettings,
    ledger: _Ledger,
    settings: IngestSettings,
    model: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    checks: Checks,
) -> None:
    """One source's rows into the ledger."""
    if source.hub is not None:
        origin, rows = source.hub, hub_rows(source.hub, revision=source.revision, split=source.split)
    else:
        assert source.path is not None, "a source without an origin"
        origin, rows = str(source.path), chain.from_iterable(map(read_rows, data_files(source.path)))
    parsed_rows = read_source(
        rows,
        origin=origin,
        format_name=None if source.format == "auto" else source.format,
        columns=None if source.columns is None else source.columns.model_dump(),
        limit=source.limit,
        weight=source.weight,
        seed=settings.seed,
    )
    before = ledger.rows
    chunk: list[_Accepted] = []
    for parsed in parsed_rows:
        ledger.rows += len(parsed.rows)
        if parsed.outcome is None:
            ledger.left_out["weight"] += len(parsed.rows)
        elif isinstance(parsed.outcome, RowProblem):
            ledger.refuse(parsed.rows, parsed.outcome)
        else:
            name = source.name or source.hub or parsed.rows[0].file.split(".")[0]
            chunk.append(_Accepted(parsed.rows, name, parsed.outcome))
        if len(chunk) == _CHUNK_ROWS:
            _check(chunk, ledger, settings, model, tokenizer, checks)
            chunk = []
    _check(chunk, ledger, settings, model, tokenizer, checks)
    if ledger.rows == before:
        raise UserError(f"{origin}: there are no rows in it.")


def _check(
    chunk: list[_Accepted],
    ledger: _Ledger,
    settings: IngestSettings,
    model: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    checks: Checks,
) -> None:
    """Row rules on candidates of the right shape; each goes into the ledger once."""
    if not chunk:
        return
    columns = ("prompt", "chosen", "rejected", "category", "chosen_safe", "rejected_safe")
    frame = pd.DataFrame([{column: getattr(item.pair, column) for column in columns} for item in chunk])
    frame["source"] = [item.source for item in chunk]
    problems: dict[int, RowProblem] = {}
    for failure in checks.raw_pairs(frame, max_chars=settings.max_chars):
        problems.setdefault(failure.index, RowProblem(failure.rule, failure.reason))
    for i, item in enumerate(chunk):
        try:
            if i in problems:
                raise problems[i]
            tokenize_pair(
                tokenizer,
                item.pair.prompt,
                item.pair.chosen,
                item.pair.rejected,
                max_length=model.max_length,
                max_prompt_length=model.max_prompt_length,
            )
        except RowProblem as problem:
            ledger.refuse(item.rows, problem)
        except Untokenizable as problem:
            ledger.refuse(item.rows, RowProblem(problem.rule, problem.reason))
        else:
            ledger.pairs.append(item)


def _resolve_duplicates(ledger: _Ledger) -> None:
    """Keep the first of equal pairs; keep none of a pair that is labelled both ways."""
    labels: dict[str, set[str]] = {}
    identities = [(pair_id(item.pair), unordered_id(item.pair)) for item in ledger.pairs]
    for identity, unordered in identities:
        labels.setdefault(unordered, set()).add(identity)
    kept: dict[str, RawRow] = {}
    pairs, ledger.pairs = ledger.pairs, []
    for item, (identity, unordered) in zip(pairs, identities, strict=True):
        if len(labels[unordered]) > 1:
            problem = RowProblem("contradictory_labels", "the pair is here with either side preferred")
            ledger.refuse(item.rows, problem)
        elif identity in kept:
            first = kept[identity]
            ledger.refuse(item.rows, RowProblem("duplicate", f"the same pair as {first.file}:{first.line}"))
        else:
            kept[identity] = item.rows[0]
            ledger.pairs.append(item)


def _sample(ledger: _Ledger, sample: SampleSettings, seed: int) -> None:
    """Leave only the pairs of the sampled prompts."""
    pairs = [item.pair for item in ledger.pairs]
    kept = sample_prompts(pairs, num_safe=sample.safe, num_unsafe=sample.unsafe, seed=seed)
    ledger.left_out["sample"] = sum(
        len(item.rows) for item, is_kept in zip(ledger.pairs, kept, strict=True) if not is_kept
    )
    ledger.pairs = [item for item, is_kept in zip(ledger.pairs, kept, strict=True) if is_kept]
    ledger.check_sum()


def _record(accepted: _Accepted, settings: IngestSettings) -> dict[str, Any]:
    pair = accepted.pair
    return {
        "pair_id": pair_id(pair),
        "prompt": pair.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "split": split_of(pair.prompt, validation_fraction=settings.validation_fraction, seed=settings.seed),
        "source": accepted.source,
        "category": pair.category,
        "chosen_safe": pair.chosen_safe,
        "rejected_safe": pair.rejected_safe,
        "meta": json.dumps(pair.meta, default=str) if pair.meta else None,
    }


def _write(table: pa.Table, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(path)
