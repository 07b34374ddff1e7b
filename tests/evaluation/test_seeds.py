"""Rates over prompts and seeds, against numbers worked by hand and another way of drawing."""

import itertools
import random

import numpy as np
import pytest
from scipy.stats import binomtest

from bdpo.evaluation.seeds import judged_by_all, seeded_difference, seeded_rate


def test_the_rate_is_over_prompts_and_seeds() -> None:
    """Prompts give 1, 1/2, 0, 0: 3/8; the seeds alone give 1/2 and 1/4."""
    found = seeded_rate(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), 0.95)
    assert (found.value, found.n, found.seeds) == (0.375, 4, 2)
    assert (found.lowest, found.highest) == (0.25, 0.5)
    assert found.low <= found.value <= found.high


def test_the_interval_is_wilsons_over_prompts() -> None:
    """The golden values are scipy's, of the same share with one seed; none of 50 leaves up to 7.1% open."""
    expected = binomtest(20, 40).proportion_ci(0.9, method="wilson")
    outcomes = np.array([[1.0]] * 20 + [[0.0]] * 20)
    found = seeded_rate(outcomes, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    none = seeded_rate(np.zeros((50, 2)), 0.95)
    assert (none.low, none.high) == pytest.approx((0.0, 0.0713), abs=1e-4)


def test_the_interval_of_a_difference_agrees_with_drawing_prompts_one_by_one() -> None:
    means = [1.0] * 10 + [0.5] * 6 + [0.0] * 24
    outcomes = np.array([[m >= 0.5, m == 1.0] for m in means], dtype=float)
    draw = random.Random(1)
    plain = sorted(sum(draw.choices(means, k=40)) / 40 for _ in range(10_000))
    found = seeded_difference(np.zeros((40, 2)), outcomes, 0.9)
    assert found.low == pytest.approx(plain[500], abs=0.02)
    assert found.high == pytest.approx(plain[9499], abs=0.02)


def test_the_p_value_is_that_of_all_exchanges() -> None:
    """Differences 1, 1, 1/2, -1/2, 1 over 5 prompts; all 2^5 sign patterns, written out."""
    first = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    second = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    differences = [1, 1, 0.5, -0.5, 1]
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    exact = sum(s >= 3 - 1e-9 for s in sums) / 32
    found = seeded_difference(first, second, 0.95)
    assert found.value == pytest.approx(0.6)
    assert found.p_value == pytest.approx(exact, abs=0.01)
    mirrored = seeded_difference(second, first, 0.95)
    assert mirrored.value == pytest.approx(-0.6)
    assert mirrored.p_value == found.p_value


def test_equal_methods_differ_by_nothing() -> None:
    same = np.ones((6, 3))
    found = seeded_difference(same, same, 0.95)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="6 prompts against 5"):
        seeded_difference(same, same[:5], 0.95)


def test_a_prompt_counts_where_every_run_has_a_verdict() -> None:
    assert judged_by_all([[True, None, False], [False, True, None]]).tolist() == [True, False, False]
