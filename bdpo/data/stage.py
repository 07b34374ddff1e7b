"""Stage 1, ingest: every raw row ends in `pairs.parquet` or in `quarantine.parquet`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.config import IngestSettings, ModelSettings
from bdpo.data.candidates import BATCH_ROWS, Accepted, CandidateFile, Resolved
from bdpo.data.card import SplitFiles, write_card
from bdpo.data.rows import Candidate, RawRow, RowProblem
from bdpo.data.sources import read_source
from bdpo.data.splits import identify
from bdpo.errors import UserError
from bdpo.layout.refusals import Sides, find_untokenizable
from bdpo.progress import Progress
from bdpo.schemas import PAIRS, QUARANTINE, Checks, PairSetFigures, PairSetLimits

_CHECKED = ("prompt", "chosen", "rejected", "category", "chosen_safe", "rejected_safe")


class _Quarantine:
    """`quarantine.parquet`, written as rows are refused and in place when it is whole."""

    def __init__(self, workdir: Path) -> None:
        self.path = workdir / "quarantine.parquet"
        self.by_rule: Counter[str] = Counter()
        self._temporary = workdir / ".quarantine.parquet.tmp"
        self._writer = pq.ParquetWriter(self._temporary, QUARANTINE, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._writer.close()

    def refuse(self, refused: list[tuple[RawRow, RowProblem]]) -> None:
        """Add rows, each with its problem."""
        rows = [
            {"file": raw.file, "line": raw.line, "rule": problem.rule, "reason": problem.reason, "row": raw.raw}
            for raw, problem in refused
        ]
        if rows:
            self.add(pa.Table.from_pylist(rows, QUARANTINE))

    def add(self, rows: pa.Table) -> None:
        """Add rows of QUARANTINE."""
        self.by_rule.update(rows["rule"].to_pylist())
        self._writer.write_table(rows)

    def finish(self) -> None:
        """Put the file in place."""
        self._writer.close()
        self._temporary.replace(self.path)


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
        workdir: gets `pairs.parquet`, `quarantine.parquet`, `data_docs/`, and the same pairs as a data set:
            `README.md` and `dataset/`.
        checks: row and set rules.
        progress: where to show what happens.

    Returns:
        Counts: rows, pairs, quarantined, by_rule, by_split, by_source, num_categories.

    Raises:
        UserError: a source cannot be read, or too little of it is usable.
    """
    candidates = CandidateFile(workdir / SCRATCH / "ingest")
    rows = 0
    with _Quarantine(workdir) as quarantine:
        progress.begin("ingest", len(settings.sources), "sources")
        for source in settings.sources:
            name = source.name or source.path.name.split(".")[0]
            before = rows
            chunk: list[tuple[RawRow, Candidate | RowProblem]] = []
            format_name = None if source.format == "auto" else source.format
            for row in read_source(source.path, format_name=format_name, limit=source.limit):
                rows += 1
                chunk.append((row.raw, row.outcome))
                if len(chunk) == BATCH_ROWS:
                    _check(chunk, name, candidates, quarantine, settings, model, tokenizer, checks)
                    chunk = []
            _check(chunk, name, candidates, quarantine, settings, model, tokenizer, checks)
            if rows == before:
                raise UserError(f"{source.path}: the file holds no rows.")
            progress.advance(1, rows=rows)
        with candidates.resolve() as resolved:
            for table in resolved.refused():
                quarantine.add(table)
            quarantine.finish()
            note_progress(workdir, len(settings.sources), len(settings.sources), "sources")
            refused = quarantine.by_rule.total()
            kept = resolved.figures()
            assert rows == kept.pairs + refused, "a row was lost"
            failures = checks.pair_set(
                PairSetFigures(kept.pairs, refused, kept.unsafe_rejected, kept.median_response_chars),
                PairSetLimits(**{name: getattr(settings, name) for name in PairSetLimits.__dataclass_fields__}),
            )
            checks.write_docs(workdir / "data_docs")
            if failures:
                common = ", ".join(f"{rule} ({count})" for rule, count in quarantine.by_rule.most_common(3)) or "none"
                failure = failures[0]
                raise UserError(
                    f"ingest: {failure.rule} is {failure.observed}, allowed is {failure.allowed}; of {rows} rows "
                    f"{refused} were refused, most often by: {common}; they are in {quarantine.path}."
                )
            counts = _write_pairs(resolved, workdir)
    write_card(workdir, counts["by_split"], counts["by_source"])
    by_rule = dict(quarantine.by_rule.most_common())
    return {"rows": rows, "pairs": kept.pairs, "quarantined": refused, "by_rule": by_rule, **counts}


def _check(
    chunk: list[tuple[RawRow, Candidate | RowProblem]],
    name: str,
    candidates: CandidateFile,
    quarantine: _Quarantine,
    settings: IngestSettings,
    model: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    checks: Checks,
) -> None:
    """Row rules, and then the tokenizer, on rows of the right shape; each row goes to one of the two."""
    problems = {i: outcome for i, (_, outcome) in enumerate(chunk) if isinstance(outcome, RowProblem)}
    pairs = {i: outcome for i, (_, outcome) in enumerate(chunk) if isinstance(outcome, Candidate)}
    if pairs:
        frame = pd.DataFrame({column: [getattr(pair, column) for pair in pairs.values()] for column in _CHECKED})
        positions = list(pairs)
        for failure in checks.raw_pairs(frame.assign(source=name), max_chars=settings.max_chars):
            problems.setdefault(positions[failure.index], RowProblem(failure.rule, failure.reason))
    passed = {i: pair for i, pair in pairs.items() if i not in problems}
    untokenizable = find_untokenizable(
        tokenizer,
        [Sides(pair.prompt, pair.chosen, pair.rejected) for pair in passed.values()],
        max_length=model.max_length,
        max_prompt_length=model.max_prompt_length,
    )
    for i, problem in zip(passed, untokenizable, strict=True):
        if problem is not None:
            problems[i] = RowProblem(problem.rule, problem.reason)
    quarantine.refuse([(chunk[i][0], problems[i]) for i in sorted(problems)])
    candidates.add(
        [
            Accepted(
                chunk[i][0],
                name,
                pair,
                identify(pair, validation_fraction=settings.validation_fraction, seed=settings.seed),
                json.dumps(pair.meta, default=str) if pair.meta else None,
            )
            for i, pair in passed.items()
            if i not in problems
        ]
    )


def _write_pairs(resolved: Resolved, workdir: Path) -> dict[str, Any]:
    """Write `pairs.parquet` and its splits, sorted by `pair_id`; counts of what is in them."""
    splits: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    categories: set[str | None] = set()
    temporary = workdir / ".pairs.parquet.tmp"
    with pq.ParquetWriter(temporary, PAIRS, compression="zstd") as writer, SplitFiles(workdir) as files:
        for table in resolved.kept():
            writer.write_table(table)
            files.write(table)
            splits.update(table["split"].to_pylist())
            sources.update(table["source"].to_pylist())
            categories.update(table["category"].to_pylist())
    temporary.replace(workdir / "pairs.parquet")
    return {"by_split": dict(splits), "by_source": dict(sources), "num_categories": len(categories - {None})}
