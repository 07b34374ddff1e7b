"""A file ingested with a tiny tokenizer, and what came of it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bdpo.config import IngestSettings, ModelSettings
from bdpo.data.stage import ingest
from bdpo.progress import Silent
from bdpo.schemas import PAIRS, QUARANTINE
from tests.rules_alone import RulesAlone
from tests.tiny import tiny_tokenizer

GOOD = {"prompt": "Q", "chosen": "yes", "rejected": "no"}
"""A row that nothing is wrong with."""


def run(path: Path, workdir: Path, tokenizer: Any = None, **fields: Any) -> dict[str, Any]:
    """Ingest a file, or the `sources` given, by `checks` given; its summary, once its counts are found to add up."""
    sources = fields.pop("sources", None) or [{"path": path, "format": fields.pop("format", "auto")}]
    checks = fields.pop("checks", None) or RulesAlone()
    workdir.mkdir(exist_ok=True)
    summary = ingest(
        settings=IngestSettings.model_validate({"sources": sources, "max_quarantined_fraction": 1.0, **fields}),
        model=ModelSettings(max_length=256, max_prompt_length=128),
        tokenizer=tokenizer or tiny_tokenizer(),
        workdir=workdir,
        checks=checks,
        progress=Silent(),
    )
    pairs, quarantine = pq.read_table(workdir / "pairs.parquet"), pq.read_table(workdir / "quarantine.parquet")
    assert pairs.schema.equals(PAIRS)
    assert quarantine.schema.equals(QUARANTINE)
    assert summary["rows"] == summary["paired_rows"] + quarantine.num_rows + sum(summary["left_out"].values())
    assert (summary["pairs"], summary["quarantined"]) == (pairs.num_rows, quarantine.num_rows)
    return summary


def refusals(workdir: Path) -> list[tuple[int, str]]:
    """Line and rule of every quarantined row."""
    rows = pq.read_table(workdir / "quarantine.parquet").to_pylist()
    return sorted((row["line"], row["rule"]) for row in rows)
