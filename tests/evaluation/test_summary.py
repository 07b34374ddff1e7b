"""The figures of an evaluation as rows and as a table, by hand."""

import pytest

from bdpo.evaluation.statistics import bootstrap_interval, mcnemar, paired_difference, rate
from bdpo.evaluation.summary import SUMMARY, adjusted, compare, markdown, shown_p, summary_rows, table

BASE = [True, *[False] * 7, None]
ALIGNED = [False, *[True] * 6, None, True]
FIGURES = adjusted(
    [
        compare("b | c", "refusal_rate", BASE, ALIGNED, confidence=0.9, limited_from=40),
        compare("d", "accuracy", [True, False], [True, True], confidence=0.9, limited_from=None),
    ]
)


def test_each_figure_has_a_row_of_each_model_and_the_aligned_ones_compares_them() -> None:
    """Of 7 prompts that both have a verdict on, 6 are gained and 1 is lost; Holm doubles the smaller p of two."""
    base, aligned, *_ = rows = summary_rows(FIGURES)
    assert [(row["benchmark"], row["metric"], row["model"], row["limited_from"]) for row in rows] == [
        ("b | c", "refusal_rate", "base", 40),
        ("b | c", "refusal_rate", "aligned", 40),
        ("d", "accuracy", "base", None),
        ("d", "accuracy", "aligned", None),
    ]
    for row, (value, n, successes, low, high) in (
        (base, (1 / 8, 8, 1, *rate(BASE, 0.9)[4:6])),
        (aligned, (7 / 8, 8, 7, *rate(ALIGNED, 0.9)[4:6])),
    ):
        assert (row["value"], row["n"], row["successes"], row["unscored"]) == (value, n, successes, 1)
        assert (row["low"], row["high"], row["confidence"]) == (low, high, 0.9)
    difference = paired_difference(BASE, ALIGNED, 0.9)
    expected = {
        "difference": pytest.approx(5 / 7),
        "difference_n": 7,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p_value": mcnemar(6, 1),
        "p_adjusted": 2 * mcnemar(6, 1),
        "gained": 6,
        "lost": 1,
        **dict(zip(("bootstrap_low", "bootstrap_high"), bootstrap_interval(6, 1, 7, 0.9), strict=True)),
    }
    assert {name: aligned[name] for name in expected} == expected
    assert not expected.keys() & base.keys()
    assert aligned.keys() == set(SUMMARY.names)


def test_the_table_is_in_per_cent_and_the_page_keeps_its_columns() -> None:
    first, second = table(FIGURES)
    assert first["benchmark"] == "b | c (a first look, not all 40)"
    assert first["base"].startswith("12.5 [")
    assert first["aligned"].startswith("87.5 [")
    assert first["aligned"].endswith("] (n = 8, 1 unscored)")
    assert first["difference"].startswith("+71.4 [")
    assert first["difference"].endswith("] (n = 7), p = 0.25")
    assert second["difference"].endswith("], p = 1")
    page = markdown([first, second], 0.9)
    assert r"| b \| c (a first look, not all 40) | refusal of harmful prompts | 12.5 [" in page
    assert "with 90% intervals" in page
    assert markdown([], 0.9) == "Nothing was evaluated.\n"


def test_a_p_is_never_0() -> None:
    assert [shown_p(p, 0.95) for p in (1.0, 0.0349, 0.0)] == ["p = 1", "p = 0.035", "p < 1e-300"]


@pytest.mark.parametrize(
    ("p", "confidence", "shown"),
    [
        (0.04977, 0.95, "0.0498"),
        (0.04996, 0.95, "0.04996"),
        (0.0501, 0.95, "0.0501"),
        (0.05, 0.95, "0.05"),
        (0.04977, 0.9, "0.05"),
        (0.0996, 0.9, "0.0996"),
        (0.0546, 0.9451, "0.0546"),
    ],
)
def test_a_p_stands_on_its_own_side_of_the_level(p: float, confidence: float, shown: str) -> None:
    assert shown_p(p, confidence) == f"p = {shown}"


def test_where_no_prompt_has_a_verdict_nothing_is_compared() -> None:
    (empty,) = table(adjusted([compare("e", "refusal_rate", [None], [True], confidence=0.95, limited_from=None)]))
    assert (empty["base"], empty["difference"]) == ("no verdict (n = 0, 1 unscored)", "-")
    assert empty["aligned"].startswith("100.0 [")
