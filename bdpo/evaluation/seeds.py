"""One method trained with several seeds: its rate, and its difference from another method's.

The prompts are the sample: what a prompt gives is its mean over the seeds.  How far the seeds lie apart is said
beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdpo.evaluation.statistics import newcombe_interval, wilson_interval

_RESAMPLES = 10_000
_SEED = 0


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
    """Two-sided, by exchanging the methods prompt by prompt at random."""


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

    If the methods were alike, either mean of a prompt could be either's: the signs of the differences are
    drawn anew 10,000 times (seed 0), and p is the share of draws at least as far from 0, the data's own
    counted with them.

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
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], size=(_RESAMPLES, len(differences)))
    drawn = np.abs(signs @ differences) / len(differences)
    at_least = int((drawn >= abs(value) - 1e-12).sum())
    return SeededDifference(value, low, high, (at_least + 1) / (_RESAMPLES + 1))


def judged_by_all(verdicts: Sequence[Sequence[bool | None]]) -> NDArray[np.bool_]:
    """Which prompts have a verdict for every run.

    Args:
        verdicts: of each run, on the same prompts.

    Returns:
        (prompts,)
    """
    return np.array([None not in of_prompt for of_prompt in zip(*verdicts, strict=True)], dtype=np.bool_)
