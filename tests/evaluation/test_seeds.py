"""Rates over prompts and seeds, against numbers worked by hand and another way of drawing."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from bdpo.evaluation.seeds import judged_by_all, seeded_difference, seeded_rate
from bdpo.evaluation.statistics import paired_difference


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


def seeds_of(means: list[float]) -> NDArray[np.float64]:
    """Four seeds that give each prompt its mean."""
    return np.array([[4 * mean > i for i in range(4)] for mean in means], dtype=float)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0.0] * 40, [1.0] * 10 + [0.5] * 6 + [0.0] * 24),
        # Perfectly correlated means: were the interval narrowed by that, it would hardly have a width.
        ([0.0] * 20 + [1.0] * 20, [0.25] * 20 + [0.75] * 20),
        ([0.25, 0.75] * 20, [0.25, 0.75] * 10 + [0.75, 0.25] * 10),
    ],
)
def test_with_several_seeds_the_interval_is_rather_too_wide(first: list[float], second: list[float]) -> None:
    """It holds the one that drawing prompts one by one gives."""
    draw = random.Random(1)
    changes = [b - a for a, b in zip(first, second, strict=True)]
    plain = sorted(sum(draw.choices(changes, k=40)) / 40 for _ in range(10_000))
    found = seeded_difference(seeds_of(first), seeds_of(second), 0.9)
    assert -1 <= found.low < plain[500]
    assert plain[9499] < found.high <= 1


def test_the_interval_of_a_difference_by_hand() -> None:
    """Means 1, 1/2, 0, 0 and 1, 1, 1/2, 0 of two seeds each: 1.5 and 2.5 of 4 prompts, both in 1 + 1/2 = 1.5.

    z^2 = 3.841459.  Wilson: p = 0.375 gives (0.375 + 0.480182 -+ 1.959964 sqrt(0.375 * 0.625 / 4 + 0.060023)) /
    1.960365 = [0.091899, 0.780573], and p = 0.625 its mirror [0.219427, 0.908101].
    phi: 4 * 1.5 - 1.5 * 2.5 = 2.25, lowered by 4/2 to 0.25, over sqrt((1.5 * 2.5)^2) = 3.75: 0.066667.
    below^2 = 2 (1 - phi) 0.405573^2 = 0.307048, root 0.554119
    above^2 = 2 (1 - phi) 0.283101^2 = 0.149606, root 0.386789
    """
    first = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    second = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    found = seeded_difference(first, second, 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25 - 0.554119, 0.25 + 0.386789), abs=1e-5)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.floats(0.5, 0.999))
def test_with_one_seed_the_interval_is_that_of_two_models(both: list[tuple[bool, bool]], confidence: float) -> None:
    first, second = [a for a, _ in both], [b for _, b in both]
    expected = paired_difference(first, second, confidence)
    found = seeded_difference(np.array(first, float)[:, None], np.array(second, float)[:, None], confidence)
    assert (found.low, found.high) == (expected.low, expected.high)
    assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)


def test_a_clear_difference_has_the_p_that_it_has() -> None:
    """Of 60 prompts all were gained: 2 of 2^60 exchanges, far less than any number of draws could show."""
    none, some = np.zeros((60, 1)), np.ones((60, 1))
    assert seeded_difference(none, some, 0.95).p_value == pytest.approx(2**-59)
    assert seeded_difference(np.zeros((60, 3)), np.ones((60, 2)), 0.95).p_value == pytest.approx(2**-59)


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
    assert found.p_value == pytest.approx(exact, rel=1e-12)
    mirrored = seeded_difference(second, first, 0.95)
    assert mirrored.value == pytest.approx(-0.6)
    assert mirrored.p_value == found.p_value


@pytest.mark.parametrize("verdict", [0.0, 1.0])
def test_where_no_verdict_changed_a_difference_may_still_be_there(verdict: float) -> None:
    """None of 20 leaves Wilson's z^2 / (20 + z^2) = 0.161126 open on either side, whatever the number of seeds."""
    same = np.full((20, 3), verdict)
    found = seeded_difference(same, same, 0.95)
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((-0.161126, 0.161126), abs=1e-5)
    with pytest.raises(ValueError, match="20 prompts against 5"):
        seeded_difference(same, same[:5], 0.95)


def test_a_prompt_counts_where_every_run_has_a_verdict() -> None:
    assert judged_by_all([[True, None, False], [False, True, None]]).tolist() == [True, False, False]
