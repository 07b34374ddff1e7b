"""Runs of ingestion and scoring on a tiny model, and what they leave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from bdpo.progress import Progress, Silent
from tests.rules_alone import RulesAlone


def score(
    config: Path, *overrides: str, force: bool = False, progress: Progress | None = None
) -> tuple[Path, dict[str, Any]]:
    pipeline = Pipeline(load_config(config, overrides), checks=RulesAlone())
    pipeline.run_stage("ingest")
    result = pipeline.run_stage("score", force=force, progress=progress)
    return result.artifact, result.summary


class Told(Silent):
    """Keeps what progress was told of the last task."""

    def __init__(self) -> None:
        self.total = 0
        self.steps: list[int] = []

    def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
        self.total, self.steps = total, []

    def advance(self, pieces: int = 1, **figures: float) -> None:
        self.steps.append(pieces)


def scores(folder: Path) -> dict[str, Mapping[str, Any]]:
    return {row["pair_id"]: row for row in pq.read_table(folder / "scored_pairs.parquet").to_pylist()}


def shards_in(cache: Path) -> list[Path]:
    """Committed shards of all scorers."""
    return [path for path in cache.glob("*/*.parquet") if not path.name.startswith("new-")]


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
