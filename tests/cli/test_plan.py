"""What `bdpo plan` prints."""

from pathlib import Path

import pytest

from bdpo.cli.run import plan
from tests.tiny_run import tiny_run


def test_a_narrow_terminal_cuts_nothing_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    plan(tiny_run(tmp_path, num_pairs=8))
    cells = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    columns = ["".join(cell.strip() for cell in column) for column in zip(*cells, strict=True)]
    assert columns[0] == "ingestscoretrainevaluate"
    assert len(columns[3]) == 4 * 24, "whole names of artifacts"
