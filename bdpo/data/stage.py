"""Stage 1, ingest: every raw row ends in `pairs.parquet` or in `quarantine.parquet`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.store import note_progress
from bdpo.config import IngestSettings, ModelSettings
from bdpo.data.rows import Candidate, RawRow, RowProblem
from bdpo.data.sources import read_source
from bdpo.data.splits import pair_id, split_of, unordered_id
from bdpo.errors import UserError
from bdpo.layout.chat import Untokenizable, tokenize_pair
from bdpo.progress import Progress
from bdpo.schemas import PAIRS, QUARANTINE, Checks

_CHUNK_ROWS = 4096


class _Ledger:
    """Accepted pairs and refused rows; what goes in comes out in one of the two."""

    def __init__(self) -> None:
        self.rows = 0
        self.pairs: list[tuple[RawRow, str, Candidate]] = []
        self.refused: list[dict[str, Any]] = []

    def refuse(self, raw: RawRow, problem: RowProblem) -> None:
        self.refused.append(
            {"file": raw.file, "line": raw.line, "rule": problem.rule, "reason": problem.reason, "row": raw.raw}
        )


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
        Counts: rows, pairs, quarantined, by_rule, by_split, by_source, num_categories.

    Raises:
        UserError: a source cannot be read, or too little of it is usable.
    """
    ledger = _Ledger()
    progress.begin("ingest", len(settings.sources), "sources")
    for source in settings.sources:
        name = source.name or source.path.name.split(".")[0]
        before = ledger.rows
        chunk: list[tuple[RawRow, Candidate]] = []
        format_name = None if source.format == "auto" else source.format
        for raw, outcome in read_source(source.path, format_name=format_name, limit=source.limit):
            ledger.rows += 1
            if isinstance(outcome, RowProblem):
                ledger.refuse(raw, outcome)
                continue
            chunk.append((raw, outcome))
            if len(chunk) == _CHUNK_ROWS:
                _check(chunk, name, ledger, settings, model, tokenizer, checks)
                chunk = []
        _check(chunk, name, ledger, settings, model, tokenizer, checks)
        if ledger.rows == before:
            raise UserError(f"{source.path}: the file holds no rows.")
        progress.advance(1, rows=ledger.rows)
    _resolve_duplicates(ledger)
    assert ledger.rows == len(ledger.pairs) + len(ledger.refused), "a row was lost"
    note_progress(workdir, len(settings.sources), len(settings.sources), "sources")

    rules = Counter(row["rule"] for row in ledger.refused)
    failures = checks.pair_set(
        pairs=len(ledger.pairs),
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
    records = [_record(name, pair, settings) for _, name, pair in ledger.pairs]
    records.sort(key=lambda record: record["pair_id"])
    _write(pa.Table.from_pylist(records, PAIRS), workdir / "pairs.parquet")
    return {
        "rows": ledger.rows,
        "pairs": len(records),
        "quarantined": len(ledger.refused),
        "by_rule": dict(rules.most_common()),
        "by_split": dict(Counter(record["split"] for record in records)),
        "by_source": dict(Counter(record["source"] for record in records)),
        "num_categories": len({record["category"] for record in records} - {None}),
    }


def _check(
    chunk: list[tuple[RawRow, Candidate]],
    name: str,
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
    frame = pd.DataFrame([{column: getattr(pair, column) for column in columns} for _, pair in chunk])
    problems: dict[int, RowProblem] = {}
    for failure in checks.raw_pairs(frame.assign(source=name), max_chars=settings.max_chars):
        problems.setdefault(failure.index, RowProblem(failure.rule, failure.reason))
    for i, (raw, pair) in enumerate(chunk):
        try:
            if i in problems:
                raise problems[i]
            tokenize_pair(
                tokenizer,
                pair.prompt,
                pair.chosen,
                pair.rejected,
                max_length=model.max_length,
                max_prompt_length=model.max_prompt_length,
            )
        except RowProblem as problem:
            ledger.refuse(raw, problem)
        except Untokenizable as problem:
            ledger.refuse(raw, RowProblem(problem.rule, problem.reason))
        else:
            ledger.pairs.append((raw, name, pair))


def _resolve_duplicates(ledger: _Ledger) -> None:
    """Keep the first of equal pairs; keep none of a pair that is labelled both ways."""
    labels: dict[str, set[str]] = {}
    identities = [(pair_id(pair), unordered_id(pair)) for _, _, pair in ledger.pairs]
    for identity, unordered in identities:
        labels.setdefault(unordered, set()).add(identity)
    kept: dict[str, RawRow] = {}
    pairs, ledger.pairs = ledger.pairs, []
    for (raw, name, pair), (identity, unordered) in zip(pairs, identities, strict=True):
        if len(labels[unordered]) > 1:
            ledger.refuse(raw, RowProblem("contradictory_labels", "the pair is here with either side preferred"))
        elif identity in kept:
            first = kept[identity]
            ledger.refuse(raw, RowProblem("duplicate", f"the same pair as {first.file}:{first.line}"))
        else:
            kept[identity] = raw
            ledger.pairs.append((raw, name, pair))


def _record(name: str, pair: Candidate, settings: IngestSettings) -> dict[str, Any]:
    return {
        "pair_id": pair_id(pair),
        "prompt": pair.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "split": split_of(pair.prompt, validation_fraction=settings.validation_fraction, seed=settings.seed),
        "source": name,
        "category": pair.category,
        "chosen_safe": pair.chosen_safe,
        "rejected_safe": pair.rejected_safe,
        "meta": json.dumps(pair.meta, default=str) if pair.meta else None,
    }


def _write(table: pa.Table, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(path)
