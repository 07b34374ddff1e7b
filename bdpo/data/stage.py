"""Stage 1, ingest: every raw row ends in `pairs.parquet` or in `quarantine.parquet`."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.config import IngestSettings, ModelSettings, SampleSettings, SourceSettings
from bdpo.data.candidates import BATCH_ROWS, Accepted, CandidateFile, Resolved
from bdpo.data.card import SplitFiles, write_card
from bdpo.data.files import data_files
from bdpo.data.hub import hub_rows
from bdpo.data.readers import read_rows
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem
from bdpo.data.sampling import Kind, draw_prompts
from bdpo.data.sources import read_source
from bdpo.data.splits import identify
from bdpo.errors import UserError
from bdpo.layout.refusals import RefusalFinder, Sides
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

    def refuse(self, refused: list[tuple[tuple[RawRow, ...], RowProblem]]) -> None:
        """Add rows, those of a pair together with its problem."""
        rows = [
            {"file": raw.file, "line": raw.line, "rule": problem.rule, "reason": problem.reason, "row": raw.raw}
            for raws, problem in refused
            for raw in raws
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
        Counts: rows, pairs, paired_rows (two a pair where single responses were paired), quarantined,
        left_out (rows by `weight` and by `sample`; rows = paired_rows + quarantined + those), by_rule,
        by_split, by_source, num_categories.

    Raises:
        UserError: a source cannot be read, or too little of it is usable.
    """
    candidates = CandidateFile(workdir / SCRATCH / "ingest")
    rows = 0
    left_out = {"weight": 0, "sample": 0}
    with _Quarantine(workdir) as quarantine:
        progress.begin("ingest", len(settings.sources), "sources")
        for source in settings.sources:
            before = rows
            chunk: list[Parsed] = []
            for parsed in _read(source, settings.seed):
                rows += len(parsed.rows)
                if parsed.outcome is None:
                    left_out["weight"] += len(parsed.rows)
                    continue
                chunk.append(parsed)
                if len(chunk) == BATCH_ROWS:
                    _check(chunk, source, candidates, quarantine, settings, model, tokenizer, checks)
                    chunk = []
            _check(chunk, source, candidates, quarantine, settings, model, tokenizer, checks)
            if rows == before:
                raise UserError(f"{source.hub or source.path}: there are no rows in it.")
            progress.advance(1, rows=rows)
        with candidates.resolve() as resolved:
            for table in resolved.refused():
                quarantine.add(table)
            quarantine.finish()
            note_progress(workdir, len(settings.sources), len(settings.sources), "sources")
            refused = quarantine.by_rule.total()
            kept = resolved.figures()
            failures = checks.pair_set(
                PairSetFigures(
                    kept.pairs, kept.rows + refused, refused, kept.unsafe_rejected, kept.median_response_chars
                ),
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
            if settings.sample is not None:
                left_out["sample"] = _sample(resolved, settings.sample, settings.seed)
                kept = resolved.figures()
            assert rows == kept.rows + refused + sum(left_out.values()), "a row was lost"
            counts = _write_pairs(resolved, workdir)
    write_card(workdir, counts["by_split"], counts["by_source"])
    return {
        "rows": rows,
        "pairs": kept.pairs,
        "paired_rows": kept.rows,
        "quarantined": refused,
        "left_out": left_out,
        "by_rule": dict(quarantine.by_rule.most_common()),
        **counts,
    }


def _read(source: SourceSettings, seed: int) -> Iterator[Parsed]:
    """One source's rows and what became of each."""
    if source.hub is not None:
        origin, rows = source.hub, hub_rows(source.hub, revision=source.revision, split=source.split)
    else:
        assert source.path is not None, "a source without an origin"
        origin, rows = str(source.path), chain.from_iterable(map(read_rows, data_files(source.path)))
    return read_source(
        rows,
        origin=origin,
        format_name=None if source.format == "auto" else source.format,
        columns=None if source.columns is None else source.columns.model_dump(),
        limit=source.limit,
        weight=source.weight,
        seed=seed,
    )


def _sample(resolved: Resolved, sample: SampleSettings, seed: int) -> int:
    """Leave only the pairs of sampled prompts; the rows that are left out."""

    def draw(kinds: Mapping[str, Kind], num_unlabelled: int) -> set[str]:
        return draw_prompts(
            kinds, num_safe=sample.safe, num_unsafe=sample.unsafe, num_unlabelled=num_unlabelled, seed=seed
        )

    return resolved.draw(draw)


def _check(
    chunk: list[Parsed],
    source: SourceSettings,
    candidates: CandidateFile,
    quarantine: _Quarantine,
    settings: IngestSettings,
    model: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    checks: Checks,
) -> None:
    """Row rules, and then the tokenizer, on rows of the right shape; each row goes to one of the two."""
    problems = {i: parsed.outcome for i, parsed in enumerate(chunk) if isinstance(parsed.outcome, RowProblem)}
    pairs = {i: parsed.outcome for i, parsed in enumerate(chunk) if isinstance(parsed.outcome, Candidate)}
    names = {i: source.name or source.hub or chunk[i].rows[0].file.split(".")[0] for i in pairs}
    if pairs:
        frame = pd.DataFrame({column: [getattr(pair, column) for pair in pairs.values()] for column in _CHECKED})
        positions = list(pairs)
        for failure in checks.raw_pairs(frame.assign(source=list(names.values())), max_chars=settings.max_chars):
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
    quarantine.refuse([(chunk[i].rows, problems[i]) for i in sorted(problems)])
    candidates.add(
        [
            Accepted(
                chunk[i].rows,
                names[i],
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
