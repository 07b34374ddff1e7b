"""The figures, of names that matplotlib would read as something else."""

import base64
from pathlib import Path

import pytest

from bdpo.evaluation.report.plots import rates
from bdpo.evaluation.summary import compare


@pytest.mark.parametrize("name", ["$\\frac$", "of $5 and $6"])
def test_a_dollar_in_a_name_is_a_dollar(name: str, tmp_path: Path) -> None:
    figure = compare(name, "refusal_rate", [True, False], [True, True], confidence=0.95, limited_from=None)
    svg = base64.b64decode(rates([figure], tmp_path).light.partition(",")[2]).decode()
    assert f"<!-- {name} -->" in svg, "drawn as it is, letter by letter"
