"""The record of a run that cannot be written."""

from pathlib import Path

import duckdb
import pytest

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.pipeline.lookup import ArtifactLookup
from bdpo.pipeline.record import RunRecord
from tests.tiny_run import tiny_run

FULL = 'TransactionContext Error: Failed to commit: Could not write file "x.wal": No space left on device'


@pytest.mark.parametrize(
    ("failure", "expected", "said"),
    [
        (duckdb.TransactionException(FULL), UserError, "the disk is full; nothing finished is lost"),
        (OSError(28, "No space left on device", "/runs/x.json"), UserError, "/runs/x.json: the disk is full"),
        (UserError("another process has held this DuckDB file"), UserError, "^another process has held"),
        (duckdb.BinderException("no such column"), duckdb.BinderException, "no such column"),
    ],
)
def test_what_the_disk_refuses_is_a_sentence_and_a_bug_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: type[Exception], said: str
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("bdpo.pipeline.record.rebuild_catalogue", fail)
    record = RunRecord(ArtifactLookup(load_config(tiny_run(tmp_path, 4))))
    with pytest.raises(expected, match=said):
        record.stage_done("ingest", cached=False)
