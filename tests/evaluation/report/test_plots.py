"""The figures, of names that matplotlib would read as something else."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from bdpo.evaluation.report.plots import Picture, information, rates, training
from bdpo.evaluation.summary import compare


def svg_of(picture: Picture) -> str:
    return base64.b64decode(picture.light.partition(",")[2]).decode()


@pytest.mark.parametrize("name", ["$\\frac$", "of $5 and $6"])
def test_a_dollar_in_a_name_is_a_dollar(name: str, tmp_path: Path) -> None:
    figure = compare(name, "refusal_rate", [True, False], [True, True], confidence=0.95, limited_from=None)
    svg = svg_of(rates([figure], tmp_path))
    assert f"<!-- {name} -->" in svg, "drawn as it is, letter by letter"


def test_many_pairs_make_no_large_page(tmp_path: Path) -> None:
    """Points of their own took 150 bytes each, so these took 7.5 MB."""
    chosen, rejected = np.random.default_rng(0).normal(size=(2, 50_000))
    picture = information(chosen, rejected, None, tmp_path)
    assert len(picture.light) < 1_000_000
    assert len(picture.dark) < 1_000_000


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("word " * 40, ["word word word word word word word"] * 2 + ["word word word word word word …"]),
        (
            "安全性评估" * 10,
            [
                "安全性评估安全性评估安全性评估安全",
                "性评估安全性评估安全性评估安全性评",
                "估安全性评估安全性评估安全性评估",
            ],
        ),
        ("short", ["short"]),
    ],
    ids=["long", "wide", "short"],
)
def test_a_name_has_three_lines_beside_its_figure_at_most(name: str, lines: list[str], tmp_path: Path) -> None:
    """More would stand over the next figure's.  Letters that no font here has are no warnings, which would end this."""
    figure = compare(name, "refusal_rate", [True, False], [True, True], confidence=0.95, limited_from=None)
    said = re.findall(r"<!-- (.*?) -->", svg_of(rates([figure], tmp_path)))
    assert said[said.index("per cent of prompts") + 1 : said.index("refusal of harmful prompts")] == lines


@pytest.mark.parametrize(("steps", "points"), [(1, 2), (2, 0)])
def test_a_training_of_one_step_is_a_point(steps: int, points: int, tmp_path: Path) -> None:
    """One in the panel and one in the legend; two steps make a line."""
    svg = svg_of(training({"loss": {"train": (list(range(steps)), [0.7] * steps)}}, tmp_path))
    assert len(re.findall("<use [^>]*fill: #6e7781", svg)) == points
