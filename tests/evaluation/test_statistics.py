"""Rates, differences and tests against numbers worked by hand."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bdpo.evaluation.statistics import bootstrap_interval, holm, mcnemar, paired_difference, rate


def test_wilson_interval_by_hand() -> None:
    """8 of 10, z = 1.959964, z^2 = 3.841459.

    Centre 8 + 1.920729 = 9.920729; half z sqrt(8 * 2 / 10 + 0.960365) = 1.959964 * 1.600114 = 3.136166;
    denominator 13.841459: low 6.784563 / 13.841459 = 0.490162, high 13.056895 / 13.841459 = 0.943318.
    """
    found = rate([True] * 8 + [False] * 2, 0.95)
    assert found.value == 0.8
    assert (found.n, found.successes, found.unscored) == (10, 8, 0)
    assert found.low == pytest.approx(0.490162, abs=1e-6)
    assert found.high == pytest.approx(0.943318, abs=1e-6)


def test_none_of_ten() -> None:
    """K = 0: low 0, high z^2 / (n + z^2) = 3.841459 / 13.841459 = 0.277533."""
    found = rate([False] * 10, 0.95)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.277533, abs=1e-6)


def test_unscored_leaves_n_and_nothing_scored_has_no_value() -> None:
    found = rate([True, None, False, None], 0.9)
    assert (found.value, found.n, found.unscored) == (0.5, 2, 2)
    for outcomes in ([], [None, None]):
        assert rate(outcomes, 0.95) == (None, 0, 0, len(outcomes), None, None, 0.95)


def test_mcnemar_by_hand() -> None:
    """Of 6 discordant, 1 lost: 2 * (C(6,0) + C(6,1)) / 64 = 14 / 64; 5 to 0: 2 / 32; ties cannot exceed 1."""
    assert mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_paired_difference_by_hand() -> None:
    """Kept 2, gained 4, lost 1, neither 3, and one pair that has no verdict of a.

    p_a = 3/10, p_b = 6/10.  Wilson: a [0.107789, 0.603222], b [0.312674, 0.831820].
    phi: 2*3 - 4*1 = 2 is lowered by n/2 = 5, to 0 at most.
    below^2 = 0.287326^2 + 0.303222^2 = 0.174500; root 0.417732
    above^2 = 0.231820^2 + 0.192211^2 = 0.090686; root 0.301141
    """
    a = [True, True, False, False, False, False, True, False, False, False, None]
    b = [True, True, True, True, True, True, False, False, False, False, True]
    found = paired_difference(a, b, 0.95)
    assert (found.n, found.gained, found.lost) == (10, 4, 1)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - 0.417732, abs=1e-5)
    assert found.high == pytest.approx(0.3 + 0.301141, abs=1e-5)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 32)


def test_newcombes_interval_of_a_published_table() -> None:
    """Altman and others, Statistics with Confidence, 2nd edition, 2000, table 6.2: 0.122, 0.011 to 0.226."""
    first = [True] * 19 + [False] * 22
    second = [True] * 14 + [False] * 27
    found = paired_difference(second, first, 0.95)
    assert found.value == pytest.approx(0.122, abs=5e-4)
    assert found.low == pytest.approx(0.011, abs=5e-4)
    assert found.high == pytest.approx(0.226, abs=5e-4)


def test_no_pairs_no_value() -> None:
    found = paired_difference([None], [True], 0.95)
    assert found == (None, 0, None, None, None, 0, 0, None, None, 0.95)


outcomes = st.lists(st.tuples(st.sampled_from([True, False, None]), st.sampled_from([True, False, None])), max_size=60)
levels = st.floats(0.5, 0.999)


@given(outcomes, levels)
def test_intervals_hold_their_values(pairs: list[tuple[bool | None, bool | None]], confidence: float) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found = rate(a, confidence)
    if found.value is not None:
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
    difference = paired_difference(a, b, confidence)
    mirrored = paired_difference(b, a, confidence)
    if difference.value is not None:
        assert difference.low is not None
        assert difference.high is not None
        assert -1 - 1e-9 <= difference.low <= difference.value <= difference.high <= 1 + 1e-9
        assert mirrored.value == pytest.approx(-difference.value)
        assert mirrored.low == pytest.approx(-difference.high)
        assert mirrored.p_value == difference.p_value


@given(st.integers(1, 50), st.data())
def test_more_items_at_the_same_rate_narrow_the_interval(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    one = rate([True] * k + [False] * (n - k), 0.95)
    ten = rate([True] * (10 * k) + [False] * (10 * (n - k)), 0.95)
    assert one.low is not None
    assert one.high is not None
    assert ten.low is not None
    assert ten.high is not None
    assert ten.high - ten.low < one.high - one.low


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.03, 0.04 of m = 3: 3 * 0.01, 2 * 0.03, and 1 * 0.04 lifted to the 0.06 before it."""
    assert holm([0.04, None, 0.01, 0.03]) == [pytest.approx(0.06), None, pytest.approx(0.03), pytest.approx(0.06)]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(p_values: list[float]) -> None:
    found = [p for p in holm(p_values) if p is not None]
    assert all(a >= b for a, b in zip(found, p_values, strict=True))
    assert [f for _, f in sorted(zip(p_values, found, strict=True))] == sorted(found)


def test_the_bootstrap_agrees_with_drawing_items_one_by_one() -> None:
    """12 gained, 4 lost, 24 neither, against a plain resampling of the 40 items with another generator."""
    items = [1] * 12 + [-1] * 4 + [0] * 24
    draw = random.Random(1)
    plain = sorted(sum(draw.choices(items, k=40)) / 40 for _ in range(10_000))
    low, high = bootstrap_interval(12, 4, 40, 0.9)
    assert low == pytest.approx(plain[500], abs=0.026)
    assert high == pytest.approx(plain[9499], abs=0.026)
    assert bootstrap_interval(0, 0, 5, 0.9) == (0.0, 0.0)


def test_the_bootstrap_of_many_items_is_the_normal_approximation() -> None:
    """1,200 gained and 400 lost of 4,000: 0.2 +- 1.645 sqrt((0.4 - 0.2^2) / 4000); drawing may err by 0.0003."""
    half = 1.644854 * math.sqrt((0.4 - 0.2**2) / 4000)
    assert bootstrap_interval(1200, 400, 4000, 0.9) == pytest.approx((0.2 - half, 0.2 + half), abs=6e-4)


@given(st.integers(1, 200), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_what_scipy_computes(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    theirs = binomtest(k, n).proportion_ci(confidence, method="wilson")
    ours = rate([True] * k + [False] * (n - k), confidence)
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_sum_of_binomial_coefficients(gained: int, lost: int) -> None:
    """Twice the tail of a fair coin from the rarer side, never above 1."""
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_step_down_rejects(p_values: list[float]) -> None:
    """At level a: going up the sorted p, reject while p <= a / (how many are left); stop at the first that is not."""
    level = 0.05
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected: set[int] = set()
    for rank, i in enumerate(order):
        if p_values[i] * (len(order) - rank) > level:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p is not None and p <= level} == rejected
