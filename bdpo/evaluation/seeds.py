"""One method trained with several seeds: its rate, and its difference from another method's.

The prompts are the sample: what a prompt gives is its mean over the seeds.  How far the seeds lie apart is said
beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdpo.evaluation.statistics import newcombe_interval, wilson_interval


class SeededRate(NamedTuple):
    """A share over prompts and seeds."""

    value: float
    n: int
    """Prompts with a verdict for every seed."""
    seeds: int
    low: float
    high: float
    """Wilson's interval of the value over the prompts, which also holds where no prompt or every one succeeds.  A
    prompt's mean over seeds varies no more than a single verdict, so with several seeds it is rather too wide."""
    lowest: float
    highest: float
    """Rates of single seeds."""


class SeededDifference(NamedTuple):
    """A second method's rate minus a first one's, on the same prompts."""

    value: float
    low: float
    high: float
    """Newcombe's interval over the prompts, as of a single seed of either method: its table of both verdicts is the
    mean over all pairs of seeds.  With one seed it is `paired_difference`'s; what further seeds average out is not
    taken off, so with several it is rather too wide, and may hold 0 where p is small.  (By the correlation of the
    prompts' means it could be too narrow: they vary less than Wilson's intervals take them to.)"""
    p_value: float
    """Two-sided and exact, by exchanging the methods prompt by prompt; with one seed it is McNemar's."""


def seeded_rate(outcomes: NDArray[np.float64], confidence: float) -> SeededRate:
    """The share of ones.

    Args:
        outcomes: (prompts, seeds), 0 or 1.
        confidence: level of the interval.
    """
    means = outcomes.mean(1)
    value = float(means.mean())
    low, high = wilson_interval(value, len(means), confidence)
    single = outcomes.mean(0)
    return SeededRate(value, len(means), outcomes.shape[1], low, high, float(single.min()), float(single.max()))


def seeded_difference(first: NDArray[np.float64], second: NDArray[np.float64], confidence: float) -> SeededDifference:
    """Compare two methods prompt by prompt.

    If the methods were alike, either mean of a prompt could be either's: p is the share, of all 2^n ways to give the
    differences signs, of those whose sum is at least as far from 0 as the data's own.

    Args:
        first: (prompts, seeds) of the first method.
        second: (prompts, seeds) of the second, the same prompts; the seeds may be others.
        confidence: level of the interval.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} prompts against {len(second)}: they must be the same")
    before, after = first.mean(1), second.mean(1)
    differences = after - before
    value = float(differences.mean())
    both = float(before @ after)  # of a prompt's pairs of seeds, both verdicts are True in this share
    low, high = newcombe_interval(float(before.sum()), float(after.sum()), both, len(differences), confidence)
    # In whole numbers: means of s and of t seeds differ by multiples of 1 / (s * t).
    whole = second.sum(1) * first.shape[1] - first.sum(1) * second.shape[1]
    return SeededDifference(value, low, high, _exchanged(whole.round().astype(np.int64)))


def _exchanged(differences: NDArray[np.int64]) -> float:
    """The share of all signs of n differences whose sum is at least as far from 0 as theirs, (n,).

    Where those with a plus sum to t, all sum to 2t - total; the chance of each t is built up difference by difference.
    """
    sizes = np.abs(differences)
    total, own = int(sizes.sum()), abs(int(differences.sum()))
    if own == 0:
        return 1.0
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for size in sizes[sizes > 0]:
        chances /= 2
        chances[size:] += chances[:-size].copy()
    return min(1.0, 2 * float(chances[(total + own) // 2 :].sum()))


def judged_by_all(verdicts: Sequence[Sequence[bool | None]]) -> NDArray[np.bool_]:
    """Which prompts have a verdict for every run.

    Args:
        verdicts: of each run, on the same prompts.

    Returns:
        (prompts,)
    """
    return np.array([None not in of_prompt for of_prompt in zip(*verdicts, strict=True)], dtype=np.bool_)
