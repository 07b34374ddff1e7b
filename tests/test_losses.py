"""The loss: golden values by hand, its gradient, and DPO as the case of equal weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bdpo.losses import preference_loss


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_of(policy_chosen: Tensor, policy_rejected: Tensor, weights: tuple[float, float], beta: float = 0.1) -> Tensor:
    zero = torch.zeros_like(policy_chosen)
    w, v = (torch.full_like(policy_chosen, weight) for weight in weights)
    return preference_loss(
        policy_chosen, policy_rejected, zero, zero, beta=beta, weight_chosen=w, weight_rejected=v
    ).losses


def test_by_hand() -> None:
    """delta_w = 2, delta_l = -1: DPO's u = 0.1 * 3; with weights 0.5 and 1.5, u = 0.1 * (1 + 1.5) = 0.25.

    -log sigmoid(0.3) = log(1 + e^-0.3) = 0.554355..., and log(1 + e^-0.25) = 0.575939...
    """
    assert loss_of(column(2), column(-1), (1, 1)).item() == pytest.approx(0.5543552444685271, rel=1e-15)
    assert loss_of(column(2), column(-1), (0.5, 1.5)).item() == pytest.approx(math.log1p(math.exp(-0.25)), rel=1e-15)


def test_at_the_start_it_is_ln_2_and_nothing_is_accurate() -> None:
    result = preference_loss(
        column(-5), column(-7), column(-5), column(-7), beta=0.1, weight_chosen=column(0.3), weight_rejected=column(1.7)
    )
    assert result.losses.item() == math.log(2)
    assert not (result.chosen_rewards > result.rejected_rewards).any()


def test_rewards_are_beta_times_the_log_ratio_whatever_the_weights() -> None:
    result = preference_loss(
        column(-4), column(-9), column(-5), column(-7), beta=0.2, weight_chosen=column(9), weight_rejected=column(8)
    )
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == pytest.approx((0.2, -0.4))


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.01, 2), st.floats(0.01, 2))
def test_the_gradient_is_the_formula(delta_w: float, delta_l: float, w: float, v: float) -> None:
    """dL/d delta_w = -beta w sigma(-u), dL/d delta_l = +beta v sigma(-u)."""
    beta = 0.1
    chosen, rejected = column(delta_w).requires_grad_(), column(delta_l).requires_grad_()
    torch.autograd.backward(loss_of(chosen, rejected, (w, v), beta).sum())
    tail = 1 / (1 + math.exp(beta * (w * delta_w - v * delta_l)))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-beta * w * tail, rel=1e-12)
    assert rejected.grad.item() == pytest.approx(beta * v * tail, rel=1e-12)


def test_the_gradient_by_finite_differences() -> None:
    inputs = tuple(column(*values).requires_grad_() for values in ((1.0, -2.0), (0.5, 3.0)))
    assert torch.autograd.gradcheck(lambda c, r: loss_of(c, r, (0.4, 1.6)), inputs)


def test_shapes_must_be_equal() -> None:
    one, two = column(1), column(1, 2)
    with pytest.raises(ValueError, match="one shape"):
        preference_loss(one, one, one, two, beta=0.1, weight_chosen=one, weight_rejected=one)
