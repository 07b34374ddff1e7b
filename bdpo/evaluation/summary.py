"""The figures of an evaluation: as rows for the catalogue, as a table for people."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bdpo.evaluation.statistics import Difference, Rate, holm, paired_difference, rate

SUMMARY = pa.schema(
    [
        ("benchmark", pa.string()),
        ("metric", pa.string()),
        ("model", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("successes", pa.int64()),
        ("unscored", pa.int64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("confidence", pa.float64()),
        ("limited_from", pa.int64()),
        ("difference", pa.float64()),
        ("difference_n", pa.int64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("p_value", pa.float64()),
        ("p_adjusted", pa.float64()),
        ("gained", pa.int64()),
        ("lost", pa.int64()),
        ("bootstrap_low", pa.float64()),
        ("bootstrap_high", pa.float64()),
    ]
)
"""`eval_summary.parquet`: a figure of one model; the aligned model's rows compare it with the base.

`difference_n`: the items that both have a verdict on, which may be fewer than either's `n`.
"""

WORDS = {
    "refusal_rate": "refusal of harmful prompts",
    "over_refusal_rate": "over-refusal of harmless prompts",
    "attack_success_rate": "success of attacks",
    "accuracy": "right answers",
    "preference_accuracy": "held-out preference accuracy",
}
"""Metric to its name for people."""

HELD_OUT = "validation pairs"
"""What the figure of held-out pairs has for a benchmark."""


class Figure(NamedTuple):
    """One figure of both models, on the same items."""

    benchmark: str
    metric: str
    base: Rate
    aligned: Rate
    difference: Difference
    limited_from: int | None
    extremes: tuple[Difference, Difference] | None = None
    """The lowest and the highest difference that completions without a verdict leave open: all of them are taken to
    count for the base model and not for the aligned one, and the other way round.  None where there are none."""
    p_adjusted: float | None = None
    """McNemar's p, corrected by Holm for all figures of the evaluation."""


def compare(
    benchmark: str,
    metric: str,
    base: Sequence[bool | None],
    aligned: Sequence[bool | None],
    *,
    confidence: float,
    limited_from: int | None,
    unanswerable: Sequence[bool] | None = None,
) -> Figure:
    """A figure of both models.

    Args:
        benchmark: where the items come from.
        metric: what True means.
        base: verdicts of the base model.
        aligned: verdicts of the aligned model, on the same items.
        confidence: level of the intervals.
        limited_from: number of items where only some were used.
        unanswerable: of each item, whether no model can have a verdict on it; none is so by default.
    """
    difference = paired_difference(base, aligned, confidence)
    open_to = _extremes(base, aligned, unanswerable or [False] * len(base), confidence)
    rates = rate(base, confidence), rate(aligned, confidence)
    return Figure(benchmark, metric, *rates, difference, limited_from, open_to)


def _extremes(
    base: Sequence[bool | None], aligned: Sequence[bool | None], unanswerable: Sequence[bool], confidence: float
) -> tuple[Difference, Difference] | None:
    both = [(a, b) for a, b, none_can in zip(base, aligned, unanswerable, strict=True) if not none_can]
    if not any(None in of_item for of_item in both):
        return None
    first, second = zip(*both, strict=True)
    lowest = paired_difference(_filled(first, True), _filled(second, False), confidence)
    return lowest, paired_difference(_filled(first, False), _filled(second, True), confidence)


def _filled(verdicts: Sequence[bool | None], missing: bool) -> list[bool]:
    return [missing if verdict is None else verdict for verdict in verdicts]


def adjusted(figures: Sequence[Figure]) -> list[Figure]:
    """The same figures, their p values corrected for being several."""
    corrected = holm([figure.difference.p_value for figure in figures])
    return [figure._replace(p_adjusted=p) for figure, p in zip(figures, corrected, strict=True)]


def summary_rows(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Rows of the SUMMARY schema, two a figure."""
    rows = []
    for figure in figures:
        common: dict[str, Any] = {
            "benchmark": figure.benchmark,
            "metric": figure.metric,
            "limited_from": figure.limited_from,
        }
        compared = {
            "difference": figure.difference.value,
            "difference_n": figure.difference.n,
            "difference_low": figure.difference.low,
            "difference_high": figure.difference.high,
            "p_value": figure.difference.p_value,
            "p_adjusted": figure.p_adjusted,
            "gained": figure.difference.gained,
            "lost": figure.difference.lost,
            "bootstrap_low": figure.difference.bootstrap_low,
            "bootstrap_high": figure.difference.bootstrap_high,
        }
        rows.append(common | {"model": "base"} | figure.base._asdict())
        rows.append(common | {"model": "aligned"} | figure.aligned._asdict() | compared)
    return rows


def table(figures: Sequence[Figure]) -> list[dict[str, str]]:
    """The same for people: one row a figure, in per cent, each with its n and interval."""
    rows = []
    for figure in figures:
        name = figure.benchmark
        if figure.limited_from is not None:
            name += f" (a first look, not all {figure.limited_from})"
        rows.append(
            {
                "benchmark": name,
                "figure (%)": WORDS[figure.metric],
                "base": percent(figure.base),
                "aligned": percent(figure.aligned),
                "difference": change_in_points(figure),
            }
        )
    return rows


def markdown(rows: Sequence[dict[str, str]], confidence: float) -> str:
    """The table as a Markdown page."""
    if not rows:
        return "Nothing was evaluated.\n"
    cells = [list(rows[0]), ["---"] * len(rows[0]), *([_one_cell(text) for text in row.values()] for row in rows)]
    lines = [" | ".join(line) for line in cells]
    body = "\n".join(f"| {line} |" for line in lines)
    return (
        f"# Base against aligned model\n\n{body}\n\nIn per cent, with {100 * confidence:g}% intervals: Wilson for a "
        "rate, Newcombe for a paired difference; p by McNemar's exact test, corrected by Holm for all rows.\n"
    )


def _one_cell(text: str) -> str:
    """Text that neither ends its cell nor its row: a benchmark is called as its user likes."""
    return " ".join(text.split()).replace("|", r"\|")


def change_in_points(figure: Figure) -> str:
    """The difference for people: points with interval, n where it is another than the rates', and the corrected p."""
    if figure.difference.value is None or figure.p_adjusted is None:
        return "-"
    n = other_n(figure.difference, figure.base, figure.aligned)
    return f"{points(figure.difference)}{n}, {shown_p(figure.p_adjusted, figure.difference.confidence)}"


def other_n(difference: Difference, *rates: Rate) -> str:
    """The items that a difference is of, where they are not those of both rates: what one model has no verdict on."""
    return "" if {rate.n for rate in rates} == {difference.n} else f" (n = {difference.n})"


def shown_p(p: float, confidence: float) -> str:
    """A p value for people; of many changed items it is less than a number can hold, and never 0.

    It has two digits, or as many as it takes to stand on its own side of one minus the level of the intervals, below
    which a change is shown.
    """
    if p < _SMALLEST_P:
        return f"p < {_SMALLEST_P:g}"
    level = round(1 - confidence, _DIGITS)
    rounded = (f"{p:.{digits}g}" for digits in range(2, _DIGITS))
    return "p = " + next((text for text in rounded if np.sign(float(text) - level) == np.sign(p - level)), f"{p:.2g}")


_SMALLEST_P = 1e-300
_DIGITS = 12
"""Of a level: 1 - 0.95 is no 0.05 in binary."""


def points(difference: Difference) -> str:
    """A difference that there is, for people, in points and with its interval."""
    assert difference.value is not None, "there are items with a verdict"
    assert difference.low is not None, "there are items with a verdict"
    assert difference.high is not None, "there are items with a verdict"
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def percent(figure: Rate) -> str:
    """A rate for people, with its interval and n."""
    if figure.value is None or figure.low is None or figure.high is None:
        return f"no verdict (n = 0, {figure.unscored} unscored)"
    unscored = f", {figure.unscored} unscored" if figure.unscored else ""
    return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}] (n = {figure.n}{unscored})"
