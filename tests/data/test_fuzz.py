"""No broken file does more than be refused in a sentence, and no row of it is lost."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bdpo.config.ingest import DataFormat
from bdpo.data.files import DataFile
from bdpo.data.readers import read_blocks
from bdpo.data.rows import Candidate, RowProblem
from bdpo.errors import UserError
from tests.data.fuzz import KINDS, broken_file
from tests.data.ingested import run
from tests.data.parsed import read_source_blocks

FORMATS: tuple[DataFormat | None, ...] = (None, "hh", "pku", "preference")
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def read_broken(kind: str, seed: int, folder: Path) -> str:
    """Read one broken file; how it ended.  Whatever is not a UserError goes through, with the seed in a note."""
    data = broken_file(kind, seed)
    path = folder / f"rows{kind}"
    path.write_bytes(data)
    count = 0
    try:
        blocks = read_blocks(DataFile(path, path.name))
        for parsed in read_source_blocks(blocks, origin=str(path), format_name=FORMATS[seed % len(FORMATS)]):
            count += len(parsed.rows)
            assert all(raw.line >= 1 for raw in parsed.rows)
            assert parsed.outcome is not None, "no weight leaves a row out here"
            check_outcome(parsed.outcome)
        if kind in (".jsonl", ".jsonl.gz"):
            text = gzip.decompress(data) if kind == ".jsonl.gz" else data
            assert count == sum(bool(line.strip()) for line in text.split(b"\n"))
        elif kind == ".parquet":
            assert count == pq.read_metadata(path).num_rows
    except UserError as error:
        sentence = str(error)
    except BaseException as error:
        error.add_note(f"{kind}, seed {seed}")
        raise
    else:
        return "read" if count else "empty"
    assert sentence.startswith(str(path))
    return "refused"


def check_outcome(outcome: Candidate | RowProblem) -> None:
    """A refusal says why in one line; a candidate can be written down."""
    if isinstance(outcome, RowProblem):
        assert outcome.rule
        assert outcome.reason
        assert "\n" not in outcome.reason
        return
    for text in (outcome.chosen, outcome.rejected, *(m["content"] for m in outcome.prompt)):
        text.encode()
    json.dumps(outcome.meta, default=str)


def read_many(kind: str, seeds: range, folder: Path) -> None:
    ends = [read_broken(kind, seed, folder) for seed in seeds]
    # The mutations reach beyond the front door: neither all files are refused as a whole nor none is.
    assert ends.count("refused") > len(ends) // 100
    assert ends.count("read") > len(ends) // 4


@EACH_KIND
def test_hundreds_of_broken_files(kind: str, tmp_path: Path) -> None:
    read_many(kind, range(700), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@EACH_KIND
def test_thousands_of_broken_files(kind: str, tmp_path: Path) -> None:
    """17,000 of each kind: more than 50,000 of those that are read line by line."""
    read_many(kind, range(700, 17_700), tmp_path)


@pytest.mark.parametrize("num", [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_the_whole_stage_loses_no_broken_row(tmp_path: Path, num: int) -> None:
    data = b"\n".join(broken_file(".jsonl", seed) for seed in range(num))
    (tmp_path / "x.jsonl").write_bytes(data)
    summary = run(tmp_path / "x.jsonl", tmp_path / "out", format="preference")
    assert summary["rows"] == sum(bool(line.strip()) for line in data.split(b"\n"))
    assert summary["rows"] == summary["pairs"] + summary["quarantined"]
    assert sum(summary["by_rule"].values()) == summary["quarantined"]
    assert len(summary["by_rule"]) > 5
