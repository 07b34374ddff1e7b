"""What two folders of artifacts may differ in."""

import time
from pathlib import Path

import duckdb

from bdpo.artifacts.store import ArtifactStore, Identity
from tests.faults.evidence import differences
from tests.scoring.stored import store

_IDENTITY = Identity("score", "abc", "demo", {}, {})


def score(root: Path, *alterations: str) -> Path:
    """Make an artifact of the stage, in which SQL has altered the score store."""
    artifacts = ArtifactStore(root)
    path = store(artifacts.begin(_IDENTITY, afresh=True))
    with duckdb.connect(str(path)) as connection:
        for alteration in alterations:
            connection.execute(alteration)
    artifacts.commit(_IDENTITY, {"pairs": 4}, time.monotonic())
    return root


def test_score_stores_differ_by_their_rows_and_not_by_their_bytes(tmp_path: Path) -> None:
    one, other = score(tmp_path / "one"), score(tmp_path / "other")
    file = Path("score/abc/scores.duckdb")
    assert (one / file).read_bytes() != (other / file).read_bytes()
    assert differences(one, other, ("score",)) == []
    altered = score(tmp_path / "altered", "update sequences set logps = [-1.25, -0.75] where key = 'a chosen'")
    emptied = score(tmp_path / "emptied", "drop view scored_pairs", "drop table sequences")
    for root in (altered, emptied):
        (found,) = differences(root, one, ("score",))
        assert found.startswith("score: rows of scores.duckdb is ")
