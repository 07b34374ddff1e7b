"""What the flow refuses before it starts anything."""

from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.fingerprints import Stage
from flows.flow import run_stages
from tests.tiny_run import tiny_run


@pytest.mark.parametrize(("only", "stages"), [("ingest", "ingest"), (None, "ingest, train, evaluate")])
def test_a_forced_stage_that_would_not_run_is_named(tmp_path: Path, only: Stage | None, stages: str) -> None:
    """Without a reference model nothing is scored."""
    config = str(tiny_run(tmp_path, num_pairs=20, train={"method": "simpo"}))
    with pytest.raises(UserError, match=rf"^force names score, which is not among the stages of this run \({stages}\)"):
        run_stages(config, [], only, ["score"], False, False, None, None)


@pytest.mark.parametrize("only", [None, "train"])
def test_a_share_is_of_the_scoring_alone(tmp_path: Path, only: Stage | None) -> None:
    with pytest.raises(UserError, match=r"^A share, such as 1/2, is of the stage score alone: add --only score"):
        run_stages(str(tiny_run(tmp_path, num_pairs=20)), [], only, [], False, False, "1/2", None)


def test_a_share_cannot_be_forced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^force names score, of which this run has only the share 1/2"):
        run_stages(str(tiny_run(tmp_path, num_pairs=20)), [], "score", ["score"], True, False, "1/2", None)
