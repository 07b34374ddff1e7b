"""The rules, each by rows that it refuses and by rows on its edge that it lets pass."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from great_expectations.render.renderer import ValidationResultsPageRenderer

from bdpo.data.measures import measure
from bdpo.data.rows import Candidate
from bdpo.schemas import DriftFigures, DriftLimits, PairSetFigures, PairSetLimits, SetFailure
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT

SECRET = "zebracadabra"


def pairs(*changes: dict[str, Any]) -> pd.DataFrame:
    """Candidates as ingestion measures them, in an index that is not the position."""
    good = {"prompt": [{"role": "user", "content": "Q"}], "chosen": "yes", "rejected": "no"}
    frame: pd.DataFrame = measure([Candidate(**(good | change)) for change in changes]).to_pandas()
    return frame.set_index(pd.Index(range(7, 7 + len(changes))))


def said(*contents: str) -> dict[str, Any]:
    return {"prompt": [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]}


def refused(frame: pd.DataFrame, max_chars: int = 1000) -> list[tuple[int, str]]:
    return sorted((f.index, f.rule) for f in GreatExpectationsChecks().raw_pairs(frame, max_chars=max_chars))


@pytest.mark.parametrize(
    ("rule", "bad", "edge"),
    [
        ("blank_prompt", said("first", "answer", " \t\u3000"), said(" ", "answer", "last")),
        ("blank_chosen", {"chosen": " \n\u2003"}, {"chosen": "."}),
        ("blank_rejected", {"rejected": ""}, {"rejected": "\u200b."}),
        ("blank_rejected", {"rejected": "\u200b\ufeff"}, {"rejected": "."}),
        ("identical_sides", {"chosen": "same", "rejected": " same\n"}, {"chosen": "same", "rejected": "Same"}),
        ("over_long", said("p" * 990) | {"chosen": "c" * 11}, said("p" * 990) | {"chosen": "c" * 10, "rejected": "r"}),
        ("over_long", said("p" * 500, "p" * 489) | {"chosen": "c", "rejected": "r" * 11}, said("é" * 997)),
        ("control_character", said("a\x00b", "answer", "c"), said("a\tb\r\nc")),
        ("control_character", {"chosen": "bell \x07"}, {"chosen": "next\x85line"}),
        ("control_character", {"rejected": "del \x7f"}, {"rejected": "~\xa0"}),
    ],
)
def test_each_row_rule_refuses_its_row_alone(rule: str, bad: dict[str, Any], edge: dict[str, Any]) -> None:
    assert refused(pairs({}, bad, edge, bad)) == [(1, rule), (3, rule)]


@pytest.mark.parametrize("code", [*range(32), 127])
def test_which_control_characters_are_refused(code: int) -> None:
    allowed = chr(code) in "\t\n\r"
    assert refused(pairs({"chosen": f"a{chr(code)}b"})) == ([] if allowed else [(0, "control_character")])


def test_a_row_breaks_every_rule_that_it_breaks() -> None:
    assert refused(pairs({"chosen": " ", "rejected": ""}, said("a" + "\x01" * 1000))) == [
        (0, "blank_chosen"),
        (0, "blank_rejected"),
        (0, "identical_sides"),
        (1, "control_character"),
        (1, "over_long"),
    ]


FIGURES = PairSetFigures(pairs=10, rows=20, quarantined=10, unsafe_rejected=4, median_response_chars=50.5)
LIMITS: dict[str, Any] = {
    "min_pairs": 10,
    "max_quarantined_fraction": 0.5,
    "min_unsafe_rejected_fraction": 0.4,
    "max_unsafe_rejected_fraction": 0.4,
    "min_median_response_chars": 50,
    "max_median_response_chars": 51,
}
UNSAFE = "share of pairs whose rejected response is labelled unsafe"
LENGTH = "median response length in characters"


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({}, None),
        ({"min_pairs": 11}, ("number of pairs", "10", "at least 11")),
        ({"max_quarantined_fraction": 0.49}, ("share of quarantined rows", "0.500 (10 of 20)", "at most 0.49")),
        ({"min_unsafe_rejected_fraction": 0.41, "max_unsafe_rejected_fraction": 1.0},
         (UNSAFE, "0.400 (4 of 10)", "0.41 to 1")),
        ({"min_unsafe_rejected_fraction": 0.0, "max_unsafe_rejected_fraction": 0.39},
         (UNSAFE, "0.400 (4 of 10)", "0 to 0.39")),
        ({"min_median_response_chars": 51}, (LENGTH, "50.5", "51 to 51")),
        ({"min_median_response_chars": 51, "max_median_response_chars": None}, (LENGTH, "50.5", "at least 51")),
        ({"max_median_response_chars": 50}, (LENGTH, "50.5", "50 to 50")),
    ],
)  # fmt: skip
def test_each_set_rule_says_what_it_saw_and_allows(
    changes: dict[str, Any], failure: tuple[str, str, str] | None
) -> None:
    found = GreatExpectationsChecks().pair_set(FIGURES, PairSetLimits(**(LIMITS | changes)))
    assert found == ([] if failure is None else [SetFailure(*failure)])


def test_a_set_without_pairs_fails_by_number_only() -> None:
    limits = PairSetLimits(1, 1.0, 0.0, 1.0, 0, None)
    assert [f.rule for f in GreatExpectationsChecks().pair_set(PairSetFigures(0, 0, 0, 0, 0.0), limits)] == [
        "number of pairs"
    ]


def scores(**columns: Sequence[float]) -> pd.DataFrame:
    logps: dict[str, Sequence[float]] = {
        f"{who}_{side}_logps": [-1.0, -2.0, 0.0] for who in ("ref", "null") for side in ("chosen", "rejected")
    }
    return pd.DataFrame(logps | {"chosen_tokens": [1, 2, 3], "rejected_tokens": [1, 2, 3]} | columns)


@pytest.mark.parametrize(
    "column", ["ref_chosen_logps", "ref_rejected_logps", "null_chosen_logps", "null_rejected_logps"]
)
@pytest.mark.parametrize(
    ("value", "rule"),
    [(math.nan, "missing_score"), (math.inf, "score_out_of_range"), (-math.inf, "score_out_of_range"),
     (1e-9, "score_out_of_range")],
)  # fmt: skip
def test_a_score_is_there_finite_and_not_positive(column: str, value: float, rule: str) -> None:
    found = GreatExpectationsChecks().scored_pairs(scores(**{column: [-1.0, value, 0.0]}))
    assert [(f.index, f.rule) for f in found] == [(1, rule)]
    assert f"`{column}`" in found[0].reason


@pytest.mark.parametrize("column", ["chosen_tokens", "rejected_tokens"])
def test_a_response_has_tokens(column: str) -> None:
    assert GreatExpectationsChecks().scored_pairs(scores()) == []
    found = GreatExpectationsChecks().scored_pairs(scores(**{column: [1, 1, 0]}))
    assert [(f.index, f.rule) for f in found] == [(2, "no_tokens")]


def figures(**changes: Any) -> pd.DataFrame:
    """A base and an aligned model's figure, and one that nothing was scored for."""
    row = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4, "successes": 2, "unscored": 0}
    compared = {"difference": -1.0, "difference_n": 3, "difference_low": -1.0, "difference_high": 1.0}
    aligned = row | compared | {"p_value": 0, "p_adjusted": 1}
    base = row | dict.fromkeys(aligned.keys() - row.keys())
    unscored = base | {"value": None, "low": None, "high": None, "n": 0, "successes": 0, "unscored": 4}
    rows = pa.Table.from_pylist([base, aligned | changes, unscored])
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def test_figures_that_are_counted_pass() -> None:
    assert GreatExpectationsChecks().evaluation_results(figures()) == []


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("no_share", {"value": 1.5, "high": 1.5}),
        ("no_share", {"p_value": -0.1}),
        ("no_count", {"unscored": -1}),
        ("no_count", {"difference_n": -1}),
        ("no_change", {"difference_high": 1.1}),
        ("out_of_order", {"successes": 5}),
        ("out_of_order", {"difference_n": 5}),
        ("out_of_order", {"low": 0.6}),
        ("out_of_order", {"high": 0.4}),
        ("out_of_order", {"difference_low": -0.9}),
        ("out_of_order", {"difference": 0.5, "difference_high": 0.4}),
    ],
)
def test_each_rule_on_figures(rule: str, changes: dict[str, Any]) -> None:
    found = GreatExpectationsChecks().evaluation_results(figures(**changes))
    assert {(f.index, f.rule) for f in found} >= {(1, rule)}
    assert {f.index for f in found} == {1}


def test_drift_fails_above_its_limits_alone() -> None:
    limits = DriftLimits(max_response_length_ks=0.1, max_unsafe_rejected_change=0.2, max_category_psi=0.3)
    checks = GreatExpectationsChecks()
    assert checks.pair_drift(DriftFigures(0.1, 0.2, 0.3), limits) == []
    found = checks.pair_drift(DriftFigures(0.11, 0.2, 0.5), limits)
    assert [(f.observed, f.allowed) for f in found] == [("0.110", "at most 0.1"), ("0.500", "at most 0.3")]


def test_a_column_that_cannot_be_checked_raises() -> None:
    checks = GreatExpectationsChecks()
    with pytest.raises(RuntimeError, match="could not be run"):
        checks.scored_pairs(scores().drop(columns="chosen_tokens"))
    with pytest.raises(RuntimeError, match="could not be run"):
        checks.scored_pairs(scores().assign(chosen_tokens=["one", "two", "three"]))
    with pytest.raises(RuntimeError, match="could not be run"):
        checks.raw_pairs(pairs({}).drop(columns="num_chars"), max_chars=10)


def test_docs_count_all_chunks_and_hold_no_text(tmp_path: Path) -> None:
    checks = GreatExpectationsChecks()
    for _ in range(3):
        checks.raw_pairs(pairs(said(SECRET), {"chosen": f"{SECRET}\x07"}, {"rejected": SECRET}), max_chars=1000)
    checks.pair_set(FIGURES, PairSetLimits(**LIMITS))
    index = checks.write_docs(tmp_path / "docs")
    assert index == tmp_path / "docs" / "index.html"
    assert index.is_file()
    pages = {path: path.read_text() for path in (tmp_path / "docs").rglob("*.html")}
    assert not [path for path, page in pages.items() if SECRET in page]
    validations = [page for path, page in pages.items() if "validations" in path.parts]
    assert len(validations) == 2, "one page a suite, however many chunks"
    (rows,) = [page for page in validations if "control_in_chosen" in page]
    assert "3 unexpected values found" in rows
    assert "of 9 total rows" in rows


def test_docs_begin_anew_after_they_are_written(tmp_path: Path) -> None:
    checks = GreatExpectationsChecks()
    checks.raw_pairs(pairs({}), max_chars=1000)
    checks.write_docs(tmp_path / "docs")
    checks.pair_set(FIGURES, PairSetLimits(**LIMITS))
    checks.write_docs(tmp_path / "docs")
    pages = [path for path in (tmp_path / "docs").rglob("*.html") if "validations" in path.parts]
    assert ["pair_set" in str(path) for path in pages] == [True]


def test_a_page_that_cannot_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Great Expectations would log it with its traceback, and the docs would lack the page."""

    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    checks = GreatExpectationsChecks()
    checks.raw_pairs(pairs({}), max_chars=1000)
    monkeypatch.setattr(ValidationResultsPageRenderer, "render", broken)
    with pytest.raises(OSError, match="No space left"):
        checks.write_docs(tmp_path / "docs")
    assert "Traceback" not in capfd.readouterr().err


def test_nothing_is_sent(tmp_path: Path) -> None:
    """A process of its own, told to send, that may open no connection."""
    program = (
        "import os, socket, sys\n"
        "def refuse(*a, **k): os._exit(3)  # from whatever thread\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import pandas as pd\n"
        "from data_checks import GreatExpectationsChecks\n"
        "checks = GreatExpectationsChecks()\n"
        "from bdpo.schemas import MEASURES\n"
        "row = dict.fromkeys(MEASURES.names, False) | {'blank_rejected': True, 'num_chars': 2}\n"
        "assert len(checks.raw_pairs(pd.DataFrame([row]), max_chars=9)) == 1\n"
        "checks.write_docs(__import__('pathlib').Path(sys.argv[1]))\n"
        "assert os.environ['GX_ANALYTICS_ENABLED'] == 'false'\n"
    )
    environment = {**os.environ, "GX_ANALYTICS_ENABLED": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "docs")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
