"""Balance weights: the forms of METHOD, their symmetries, and the same numbers in SQL."""

import math

import duckdb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo.balance import Forms, balance_weights, method_forms, weights_sql
from bdpo.config.methods import Balance, Method, Scale

FINITE = st.floats(allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-20, 20)
BALANCES: tuple[Balance, ...] = ("none", "inverse", "softmax")
SCALES: tuple[Scale, ...] = ("none", "harmonic", "norm")
FORMS = [Forms(b, s, n) for b in BALANCES for s in SCALES for n in (False, True)]


def weigh(chosen: float, rejected: float, forms: Forms) -> tuple[float, ...]:
    weights = balance_weights(
        torch.tensor([chosen], dtype=torch.float64),
        torch.tensor([rejected], dtype=torch.float64),
        forms=forms,
        mi_floor=0.05,
        tau=1.0,
    )
    return tuple(float(column[0]) for column in weights)


def test_bdpo_by_hand() -> None:
    """I = 1 and 0.5: w = 1 and 2, s = 2 / (1 + 2) = 2/3, so 2/3 and 4/3."""
    assert weigh(1.0, 0.5, method_forms("bdpo")) == pytest.approx((1, 2, 2 / 3, 2 / 3, 4 / 3), rel=1e-15)


def test_negative_information_is_floored() -> None:
    """I^ = 0.05 and 0.2: w = 20 and 5, s = 2 / 25 = 0.08, so 1.6 and 0.4."""
    assert weigh(-3.0, 0.2, method_forms("bdpo")) == pytest.approx((20, 5, 0.08, 1.6, 0.4), rel=1e-14)


def test_softmax_by_hand() -> None:
    """I = 0 and ln 3: w_w = 2 * 3/4 = 1.5, w_l = 0.5."""
    assert weigh(0.0, math.log(3), Forms("softmax", "none", False))[:2] == pytest.approx((1.5, 0.5), rel=1e-15)


def test_norm_by_hand() -> None:
    """The weights 1 and 2: s = sqrt(2 / 5)."""
    assert weigh(1.0, 0.5, Forms("inverse", "norm", False))[2] == pytest.approx(math.sqrt(0.4), rel=1e-15)


def test_the_methods_are_these_forms() -> None:
    methods: list[Method] = ["dpo", "dpo_bw", "dpo_sf", "bdpo"]
    assert [method_forms(method) for method in methods] == [
        ("none", "none", False),
        ("inverse", "none", True),
        ("none", "harmonic", True),
        ("inverse", "harmonic", False),
    ]
    assert method_forms("dpo", "softmax", "norm") == ("softmax", "norm", False)


@given(FINITE)
def test_equal_information_is_dpo_to_the_last_bit(mi: float) -> None:
    for balance, scale in (("inverse", "harmonic"), ("inverse", "norm"), ("softmax", "none"), ("softmax", "norm")):
        chosen, rejected = weigh(mi, mi, Forms(balance, scale, False))[3:]  # type: ignore[arg-type]
        assert (chosen, rejected) == (1.0, 1.0)


@given(FINITE, FINITE, st.sampled_from(FORMS))
def test_swapping_the_sides_swaps_the_weights(a: float, b: float, forms: Forms) -> None:
    one, other = weigh(a, b, forms), weigh(b, a, forms)
    assert (one[0], one[1]) == (other[1], other[0])
    assert (one[3], one[4]) == (other[4], other[3])


@given(FINITE, FINITE)
def test_bdpo_weights_are_positive_finite_and_sum_to_two(a: float, b: float) -> None:
    chosen, rejected = weigh(a, b, method_forms("bdpo"))[3:]
    assert 0 < chosen < math.inf
    assert 0 < rejected < math.inf
    assert chosen + rejected == pytest.approx(2, rel=1e-14)


@given(FINITE, FINITE, st.sampled_from([f for f in FORMS if f.balance != "none"]))
def test_the_better_understood_side_never_weighs_more(a: float, b: float, forms: Forms) -> None:
    chosen, rejected = weigh(a, b, forms)[:2]
    assert (chosen <= rejected) if a >= b else (chosen >= rejected)


def test_normalised_weights_have_mean_one_over_the_training_pairs() -> None:
    mi = torch.tensor([[0.1, 2.0], [0.5, 0.7], [9.0, 9.0]], dtype=torch.float64)
    train = torch.tensor([True, True, False])
    methods: tuple[Method, ...] = ("dpo_bw", "dpo_sf")
    for method in methods:
        forms = method_forms(method)
        weights = balance_weights(mi[:, 0], mi[:, 1], forms=forms, mi_floor=0.05, tau=1.0, mean_over=train)
        mean = (weights.scaled_chosen + weights.scaled_rejected)[train].mean() / 2
        assert float(mean) == pytest.approx(1.0, rel=1e-14)


def test_wrong_input_is_refused() -> None:
    for sides in ((math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0), (0.0, -math.inf)):
        with pytest.raises(ValueError, match="finite"):
            weigh(*sides, method_forms("bdpo"))
    with pytest.raises(ValueError, match="shape"):
        balance_weights(torch.zeros(2), torch.zeros(3), forms=method_forms("bdpo"), mi_floor=0.05, tau=1.0)


def test_no_gradient_flows_through_weights() -> None:
    mi = torch.ones(3, requires_grad=True)
    assert not any(
        w.requires_grad for w in balance_weights(mi, mi * 2, forms=method_forms("bdpo"), mi_floor=0.05, tau=1.0)
    )


@pytest.mark.parametrize("balance", ["none", "inverse", "softmax"])
@pytest.mark.parametrize("scale", ["none", "harmonic", "norm"])
@pytest.mark.parametrize("normalise", [False, True])
@settings(max_examples=10)
@given(st.lists(st.tuples(MODERATE, MODERATE), min_size=1, max_size=8))
def test_sql_gives_the_same_weights(
    balance: Balance, scale: Scale, normalise: bool, mi: list[tuple[float, float]]
) -> None:
    forms = Forms(balance, scale, normalise)
    chosen, rejected = (torch.tensor([pair[i] for pair in mi], dtype=torch.float64) for i in (0, 1))
    train = torch.tensor([i % 3 < 2 for i in range(len(mi))])
    expected = balance_weights(chosen, rejected, forms=forms, mi_floor=0.05, tau=0.7, mean_over=train)
    with duckdb.connect() as connection:
        connection.execute("create table t (n int, mi_chosen double, mi_rejected double, split varchar)")
        rows = [(n, a, b, "train" if n % 3 < 2 else "validation") for n, (a, b) in enumerate(mi)]
        connection.executemany("insert into t values (?, ?, ?, ?)", rows)
        select = weights_sql(forms=forms, mi_floor=0.05, tau=0.7)
        found = connection.execute(f"select {select} from t order by n").fetchall()
    columns = torch.tensor(found, dtype=torch.float64)
    torch.testing.assert_close(columns, torch.stack(expected[:3], dim=1), rtol=1e-12, atol=0)
