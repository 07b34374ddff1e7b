"""Rates with intervals, and paired comparisons of two models on the same items.

Unscored is never zero: an item without a verdict lowers n and is counted apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm

_RESAMPLES = 10_000
_SEED = 0


class Rate(NamedTuple):
    """A share of n items, with its interval."""

    value: float | None
    """successes / n; None where n is 0."""
    n: int
    successes: int
    unscored: int
    low: float | None
    high: float | None
    confidence: float


class Difference(NamedTuple):
    """A second model's rate minus a first one's, on the items that both have a verdict on."""

    value: float | None
    n: int
    low: float | None
    high: float | None
    p_value: float | None
    """Exact McNemar test, two-sided."""
    gained: int
    """Items that are True for the second model alone."""
    lost: int
    """Items that are True for the first model alone."""
    bootstrap_low: float | None
    """Interval by the paired bootstrap, beside Newcombe's `low` and `high`."""
    bootstrap_high: float | None
    confidence: float


def rate(verdicts: Sequence[bool | None], confidence: float) -> Rate:
    """The share of True among the verdicts that are there.

    The interval is `wilson_interval`.

    Args:
        verdicts: True, False, or None where there is no verdict.
        confidence: level of the interval.
    """
    scored = [verdict for verdict in verdicts if verdict is not None]
    n, successes = len(scored), sum(scored)
    unscored = len(verdicts) - n
    if n == 0:
        return Rate(None, 0, 0, unscored, None, None, confidence)
    p = successes / n
    low, high = wilson_interval(p, n, confidence)
    return Rate(p, n, successes, unscored, low, high, confidence)


def wilson_interval(p: float, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share `p` of `n`, at least 1.

    For z the normal quantile of the level: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    z = float(norm.ppf((1 + confidence) / 2))
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * ((p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5) / (1 + z**2 / n)
    # At p = 0 and p = 1 the bound is exactly 0 or 1; rounding would leave a speck.
    return 0.0 if p == 0 else max(middle - half, 0.0), 1.0 if p == 1 else min(middle + half, 1.0)


def paired_difference(first: Sequence[bool | None], second: Sequence[bool | None], confidence: float) -> Difference:
    """Compare two models item by item.

    Args:
        first: verdicts of the first model.
        second: of the second, on the same items in the same order.
        confidence: level of the interval, which is `newcombe_interval`.

    Raises:
        ValueError: the lengths differ.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    n = len(both)
    if n == 0:
        return Difference(None, 0, None, None, None, 0, 0, None, None, confidence)
    kept = sum(x and y for x, y in both)
    lost = sum(x and not y for x, y in both)
    gained = sum(y and not x for x, y in both)
    value = (kept + gained) / n - (kept + lost) / n
    low, high = newcombe_interval(kept + lost, kept + gained, kept, n, confidence)
    resampled = bootstrap_interval(gained, lost, n, confidence)
    return Difference(value, n, low, high, mcnemar(gained, lost), gained, lost, *resampled, confidence)


def newcombe_interval(first: float, second: float, both: float, n: int, confidence: float) -> tuple[float, float]:
    """Newcombe's interval of second / n - first / n: Wilson's two intervals, joined by a corrected correlation.

    Statistics in Medicine 17, 1998, 2635-2650, method 10.

    Args:
        first: items that are True for the first model; no whole number where an item's verdict is a mean of several.
        second: those that are True for the second.
        both: those that are True for both.
        n: items, at least 1.
        confidence: level of the interval.
    """
    a, b = first / n, second / n
    a_low, a_high = wilson_interval(a, n, confidence)
    b_low, b_high = wilson_interval(b, n, confidence)
    correlation = _phi(first, second, both, n)
    down = _bound(b - b_low, a_high - a, correlation)
    up = _bound(b_high - b, a - a_low, correlation)
    return b - a - down, b - a + up


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p of McNemar's test (1947): among items that changed, either way is as likely.

    Args:
        gained: items that only the second model has.
        lost: items that only the first has.
    """
    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost, 0.5).pvalue)


def bootstrap_interval(gained: int, lost: int, n: int, confidence: float) -> tuple[float, float]:
    """Percentile interval of a paired difference over 10,000 resamples of the items (seed 0).

    A resampled item was gained, lost or neither, so a resample is one draw of a multinomial: the same
    distribution as drawing items one by one.

    Args:
        gained: items that only the second model has.
        lost: items that only the first has.
        n: items, at least 1.
        confidence: level of the interval.
    """
    shares = [gained / n, lost / n, (n - gained - lost) / n]
    draws = np.random.default_rng(_SEED).multinomial(n, shares, size=_RESAMPLES)
    differences = (draws[:, 0] - draws[:, 1]) / n
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for being several (Holm 1979): the k-th smallest of m times m - k + 1, never falling.

    Args:
        p_values: of one family of tests; None where there was none, which stays None and counts for nothing.
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[i] = largest
    return corrected


def _bound(own: float, other: float, correlation: float) -> float:
    return float(max(own**2 - 2 * correlation * own * other + other**2, 0.0) ** 0.5)


def _phi(first: float, second: float, both: float, n: int) -> float:
    """Newcombe's correlation of two sequences of verdicts, by their counts; 0 where one of them never changes.

    A positive one, which narrows the interval, is corrected for continuity: its numerator is lowered by n/2, to 0
    at most.
    """
    margins = first * (n - first) * second * (n - second)
    covariance = n * both - first * second  # of the four cells: n11 * n00 - n10 * n01
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    return 0.0 if margins == 0 else float(covariance / margins**0.5)
