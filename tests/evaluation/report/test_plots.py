"""The figures, of names that matplotlib would read as something else."""

import base64
from pathlib import Path

import numpy as np
import pytest

from bdpo.evaluation.report.plots import information, rates
from bdpo.evaluation.summary import compare


@pytest.mark.parametrize("name", ["$\\frac$", "of $5 and $6"])
def test_a_dollar_in_a_name_is_a_dollar(name: str, tmp_path: Path) -> None:
    figure = compare(name, "refusal_rate", [True, False], [True, True], confidence=0.95, limited_from=None)
    svg = base64.b64decode(rates([figure], tmp_path).light.partition(",")[2]).decode()
    assert f"<!-- {name} -->" in svg, "drawn as it is, letter by letter"


def test_many_pairs_make_no_large_page(tmp_path: Path) -> None:
    """Points of their own took 150 bytes each, so these took 7.5 MB."""
    of_a_pair = np.random.default_rng(0).normal(size=(2, 50_000))
    picture = information(*of_a_pair, None, tmp_path)
    assert len(picture.light) < 1_000_000
    assert len(picture.dark) < 1_000_000
