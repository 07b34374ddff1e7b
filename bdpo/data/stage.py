"""Stage 1, ingest: every raw row ends in `pairs.parquet` or in `quarantine.parquet`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.config import IngestSettings, ModelSettings, SampleSettings, SourceSettings
from bdpo.data.blocks import Block, collect
from bdpo.data.candidates import Candidates, Resolved
from bdpo.data.card import SplitFiles, write_card
from bdpo.data.files import DataFile, data_files
from bdpo.data.formats.beavertails import UNPAIRED
from bdpo.data.hub import hub_rows
from bdpo.data.overlap import EvaluationPrompt, EvaluationPrompts
from bdpo.data.preparation import Preparation, Rows
from bdpo.data.prepare import Prepared, Preparer
from bdpo.data.quarantine import Quarantine
from bdpo.data.readers import read_blocks
from bdpo.data.responses import pair_blocks
from bdpo.data.rows import RowProblem
from bdpo.data.sampling import Kind, draw_prompts
from bdpo.data.sources import find_shape, require_seen
from bdpo.errors import UserError
from bdpo.layout.rendering import require_answers_follow
from bdpo.progress import Progress
from bdpo.schemas import MEASURES, PAIRS, Checks, DriftLimits, PairSetFigures, PairSetLimits

_FRAME_ROWS = 2**17
"""Rows that are validated at a time: a validation costs a third of a second before its first row."""
_REPEATED = ["split", "source", "category", "role"]
"""Columns of PAIRS that hold few values."""


def ingest(
    *,
    settings: IngestSettings,
    model: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    workdir: Path,
    checks: Checks,
    progress: Progress,
    evaluation_prompts: Sequence[EvaluationPrompt] = (),
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
        evaluation_prompts: what `settings.evaluation_prompts` holds; a pair that shares too much with one is refused.

    Returns:
        Counts: rows, pairs, paired_rows (two or more a pair where single responses were paired), quarantined,
        left_out (rows by `weight` and by `sample`; rows = paired_rows + quarantined + those), by_rule,
        by_split, by_source, num_categories.

    Raises:
        UserError: no response can follow its prompt with the tokenizer's chat template, a source cannot be read, or
            too little of it is usable.
    """
    require_answers_follow(tokenizer)
    scratch = workdir / SCRATCH / "ingest"
    candidates = Candidates(scratch)
    judge = _Judge(candidates, checks, settings.max_chars)
    preparer = Preparer(
        tokenizer,
        model,
        settings.validation_fraction,
        settings.seed,
        scratch,
        EvaluationPrompts(evaluation_prompts),
        settings.near_duplicates,
    )
    rows = 0
    left_out = {"weight": 0, "sample": 0}
    with Quarantine(workdir) as quarantine, Preparation(preparer) as preparation:
        progress.begin("ingest", len(settings.sources), "sources")
        files = [None if source.path is None else data_files(source.path) for source in settings.sources]
        for source, own, prefix in zip(settings.sources, files, _prefixes(settings.sources, files), strict=True):
            before = rows
            seen: set[str] = set()
            for prepared in preparation.run(_tasks(source, own, prefix, settings.seed, scratch)):
                rows += prepared.num_rows
                left_out["weight"] += prepared.left_out
                seen |= prepared.seen
                quarantine.add(prepared.refused)
                candidates.add(prepared)
                judge.add(prepared)
            if rows == before:
                raise UserError(f"{source.hub or source.path}: there are no rows in it.")
            if source.columns is not None:
                require_seen(str(source.hub or source.path), source.columns.model_dump(), seen)
            progress.advance(1, rows=rows)
        judge.finish()
        with candidates.resolve(settings.near_duplicates) as resolved:
            for table in resolved.refused():
                quarantine.add(table)
            quarantine.finish()
            note_progress(workdir, len(settings.sources), len(settings.sources), "sources")
            refused = quarantine.by_rule.total()
            kept = resolved.figures()
            bad = refused - quarantine.by_rule[UNPAIRED]
            failures = checks.pair_set(
                PairSetFigures(kept.pairs, kept.rows + bad, bad, kept.unsafe_rejected, kept.median_response_chars),
                PairSetLimits(**{name: getattr(settings, name) for name in PairSetLimits.__dataclass_fields__}),
            )
            if settings.sample is not None and not failures:
                left_out["sample"] = _sample(resolved, settings.sample, settings.seed)
                kept = resolved.figures()
            if settings.drift is not None and not failures:
                limits = {name: getattr(settings.drift, name) for name in DriftLimits.__dataclass_fields__}
                failures = checks.pair_drift(resolved.drift(settings.drift.previous), DriftLimits(**limits))
            checks.write_docs(workdir / "data_docs")
            if failures:
                raise UserError(quarantine.explain(failures[0], rows, left_out))
            assert rows == kept.rows + refused + sum(left_out.values()), "a row was lost"
            counts = _write_pairs(resolved, workdir)
            assert sum(counts["by_split"].values()) == kept.pairs, "a pair was lost"
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


class _Judge:
    """Row rules on what was measured of many blocks, in frames that are worth a validation."""

    def __init__(self, candidates: Candidates, checks: Checks, max_chars: int) -> None:
        self._candidates = candidates
        self._checks = checks
        self._max_chars = max_chars
        self._waiting: list[tuple[int, pa.Table]] = []

    def add(self, prepared: Prepared) -> None:
        self._waiting.append((prepared.number, prepared.measures))
        if sum(measures.num_rows for _, measures in self._waiting) >= _FRAME_ROWS:
            self.finish()

    def finish(self) -> None:
        measures = pa.concat_tables(table for _, table in self._waiting) if self._waiting else MEASURES.empty_table()
        if measures.num_rows:
            pairs = [(number, row) for number, table in self._waiting for row in range(table.num_rows)]
            problems: dict[int, RowProblem] = {}
            for failure in self._checks.raw_pairs(measures.to_pandas(), max_chars=self._max_chars):
                problems.setdefault(failure.index, RowProblem(failure.rule, failure.reason))
            self._candidates.refuse([pairs[i] for i in problems], list(problems.values()))
        self._waiting = []


def _prefixes(sources: Sequence[SourceSettings], files: Sequence[list[DataFile] | None]) -> list[str]:
    """What goes before the names of each source's files, so that a name and a line are one row's.

    Only sources that share a name have one, by their place in the settings: folders may lie elsewhere on another
    machine.
    """
    names = [
        {source.hub} if own is None else {file.name for file in own} for source, own in zip(sources, files, strict=True)
    ]
    sharing = Counter(chain.from_iterable(names))
    return [f"sources.{i}/" if any(sharing[name] > 1 for name in own) else "" for i, own in enumerate(names)]


def _tasks(
    source: SourceSettings, files: list[DataFile] | None, prefix: str, seed: int, scratch: Path
) -> Iterator[Rows]:
    """One source's rows, block by block, of files whose names get a prefix; without files those of the hub."""
    if source.hub is not None:
        origin = source.hub
        streamed = hub_rows(
            source.hub,
            revision=source.revision,
            split=source.split,
            subset=source.subset,
            data_dir=source.data_dir,
        )
        blocks: Iterator[Block] = collect(row._replace(file=f"{prefix}{row.file}") for row in streamed)
    else:
        assert files is not None, "a source without an origin"
        origin = str(source.path)
        blocks = chain.from_iterable(read_blocks(file._replace(name=f"{prefix}{file.name}")) for file in files)
    shape, blocks = find_shape(
        blocks,
        origin=origin,
        format_name=None if source.format == "auto" else source.format,
        columns=None if source.columns is None else source.columns.model_dump(),
        limit=source.limit,
        weight=source.weight,
        seed=seed,
    )
    name = source.name or source.hub
    for rows in blocks if shape.is_paired else pair_blocks(shape, blocks, scratch):
        yield shape, name, rows


def _sample(resolved: Resolved, sample: SampleSettings, seed: int) -> int:
    """Leave only the pairs of sampled prompts; the rows that are left out."""

    def draw(kinds: Mapping[str, Kind], num_unlabelled: int) -> set[str]:
        return draw_prompts(
            kinds, num_safe=sample.safe, num_unsafe=sample.unsafe, num_unlabelled=num_unlabelled, seed=seed
        )

    return resolved.draw(draw)


def _write_pairs(resolved: Resolved, workdir: Path) -> dict[str, Any]:
    """Write `pairs.parquet` and its splits, sorted by `pair_id`; counts of what is in them."""
    splits: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    categories: set[str | None] = set()
    temporary = workdir / ".pairs.parquet.tmp"
    with (
        pq.ParquetWriter(temporary, PAIRS, compression="zstd", use_dictionary=_REPEATED) as writer,
        SplitFiles(workdir) as files,
        ThreadPoolExecutor(2) as threads,
    ):
        writing: list[Future[None]] = []
        for table in resolved.kept():
            for earlier in writing:
                earlier.result()
            writing = [threads.submit(writer.write_table, table), threads.submit(files.write, table)]
            splits.update(_counts(table["split"]))
            sources.update(_counts(table["source"]))
            categories.update(_counts(table["category"]))
        for last in writing:
            last.result()
    temporary.replace(workdir / "pairs.parquet")
    return {"by_split": dict(splits), "by_source": dict(sources), "num_categories": len(categories - {None})}


def _counts(values: pa.ChunkedArray) -> dict[Any, int]:
    return {count["values"]: count["counts"] for count in pc.value_counts(values).to_pylist()}
