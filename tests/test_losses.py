"""The losses: golden values by hand, those of TRL, gradients, and the cases in which one loss is another."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bdpo.config.methods import Loss
from bdpo.losses import Hyperparameters, PairTerms, PreferenceLoss, preference_loss

TRL = json.loads((Path(__file__).parent / "golden" / "trl_losses.json").read_text())
"""Recorded by `python -m benchmarks.record_trl_losses`."""


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def terms(policy_chosen: Tensor, policy_rejected: Tensor, **others: Tensor) -> PairTerms:
    """Pairs with a reference of 0 and weights of 1, responses of 4 and 5 tokens, the rejected one unsafe."""
    one = torch.ones_like(policy_chosen)
    defaults = {
        "ref_chosen_logps": 0 * one,
        "ref_rejected_logps": 0 * one,
        "chosen_tokens": 4 * one,
        "rejected_tokens": 5 * one,
        "weight_chosen": one,
        "weight_rejected": one,
        "unsafe_difference": one,
    }
    return PairTerms(policy_chosen, policy_rejected, **(defaults | others))


def of(loss: Loss, pairs: PairTerms, **constants: float) -> PreferenceLoss:
    return preference_loss(loss, pairs, Hyperparameters(**{"beta": 0.1, **constants}))


CASES: dict[Loss, tuple[dict[str, float], float]] = {
    # chosen -3 - -5 = 2 above its reference, 4 tokens; rejected -8 - -7 = 1 below, 5 tokens; u = 0.1 * 3 = 0.3
    # log(1 + e^-0.3) = 0.554355..., log(1 + e^0.3) = 0.854355...
    "sigmoid": ({}, 0.5543552444685271),
    # (0.9 * 0.5543552444685271 - 0.1 * 0.8543552444685271) / 0.8
    "robust": ({"label_smoothing": 0.1}, (0.9 * 0.5543552444685271 - 0.1 * 0.8543552444685271) / 0.8),
    # 2 / 4 - -1 / 5 = 0.7; 1 / (2 * 0.1) = 5; (0.7 - 5)^2 = 18.49
    "ipo": ({}, 18.49),
    # 1 - 0.3
    "hinge": ({}, 0.7),
    # No reference: 2 * (-3 / 4 + 8 / 5) - 0.5 = 1.2
    "simpo": ({"beta": 2, "gamma": 0.5}, math.log1p(math.exp(-1.2))),
    # 0.1 * (-3 + 8) = 0.5, and 0.4 * 3 / 4 beside it
    "cpo": ({"nll_weight": 0.4}, math.log1p(math.exp(-0.5)) + 0.3),
    # u = 0.3 - 2: the rejected response is unsafe
    "safedpo": ({"safety_margin": 2}, math.log1p(math.exp(1.7))),
    # log(0.5 e^-1 + 0.5) = -0.379885...; u = 0.1 * (2 + 0.379885...)
    "bounded": ({"policy_share": 0.5}, math.log1p(math.exp(-0.1 * (2 - math.log(0.5 * math.exp(-1) + 0.5))))),
}
REFERENCE_FREE = ("simpo", "cpo")


def by_hand(loss: Loss) -> PairTerms:
    reference = {} if loss in REFERENCE_FREE else {"ref_chosen_logps": column(-5), "ref_rejected_logps": column(-7)}
    return terms(column(-3), column(-8), **reference)


def test_every_loss_has_a_case() -> None:
    assert CASES.keys() == set(get_args(Loss))


@pytest.mark.parametrize("loss", CASES)
def test_by_hand(loss: Loss) -> None:
    constants, expected = CASES[loss]
    assert of(loss, by_hand(loss), **constants).losses.item() == pytest.approx(expected, rel=1e-14)


def test_weights_and_smoothing_by_hand() -> None:
    """Weights 0.5 and 1.5: u = 0.1 * (1 + 1.5) = 0.25; smoothing 0.2 of u = 0.3: 0.8 * 0.554355 + 0.2 * 0.854355."""
    weighted = by_hand("sigmoid")._replace(weight_chosen=column(0.5), weight_rejected=column(1.5))
    assert of("sigmoid", weighted).losses.item() == pytest.approx(math.log1p(math.exp(-0.25)), rel=1e-14)
    smoothed = of("sigmoid", by_hand("sigmoid"), label_smoothing=0.2).losses.item()
    assert smoothed == pytest.approx(0.8 * 0.5543552444685271 + 0.2 * 0.8543552444685271, rel=1e-14)


@pytest.mark.parametrize("case", TRL, ids=lambda case: case["trl"])
def test_the_numbers_of_trl(case: dict[str, Any]) -> None:
    """In float64, beside what TRL 1.16's own code gave for the same log-probs."""
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in case["terms"].items()}
    pairs = terms(tensors.pop("policy_chosen_logps"), tensors.pop("policy_rejected_logps"), **tensors)
    found = of(case["loss"], pairs, **case["constants"])
    assert found.losses.tolist() == pytest.approx(case["losses"], rel=1e-12)
    assert found.chosen_rewards.tolist() == pytest.approx(case["chosen_rewards"], rel=1e-12)
    assert found.rejected_rewards.tolist() == pytest.approx(case["rejected_rewards"], rel=1e-12)


@pytest.mark.parametrize("loss", [name for name in CASES if name not in REFERENCE_FREE])
def test_at_the_start_nothing_is_accurate(loss: Loss) -> None:
    same = {"ref_chosen_logps": column(-5), "ref_rejected_logps": column(-7)}
    result = of(loss, terms(column(-5), column(-7), **same), **CASES[loss][0])
    assert not (result.chosen_rewards > result.rejected_rewards).any()
    if loss in ("sigmoid", "bounded"):
        assert result.losses.item() == math.log(2)


def test_rewards_are_beta_times_the_log_ratio_whatever_the_weights() -> None:
    pairs = by_hand("sigmoid")._replace(weight_chosen=column(9), weight_rejected=column(8))
    result = of("sigmoid", pairs, beta=0.2)
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == pytest.approx((0.4, -0.2))


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.01, 2), st.floats(0.01, 2))
def test_the_gradient_is_the_formula(delta_w: float, delta_l: float, w: float, v: float) -> None:
    """dL/d delta_w = -beta w sigma(-u), dL/d delta_l = +beta v sigma(-u)."""
    beta = 0.1
    chosen, rejected = column(delta_w).requires_grad_(), column(delta_l).requires_grad_()
    pairs = terms(chosen, rejected, weight_chosen=column(w), weight_rejected=column(v))
    torch.autograd.backward(of("sigmoid", pairs).losses.sum())
    tail = 1 / (1 + math.exp(beta * (w * delta_w - v * delta_l)))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-beta * w * tail, rel=1e-12)
    assert rejected.grad.item() == pytest.approx(beta * v * tail, rel=1e-12)


@pytest.mark.parametrize("loss", CASES)
def test_the_gradient_by_finite_differences(loss: Loss) -> None:
    inputs = tuple(column(*values).requires_grad_() for values in ((-1.0, -12.0), (-0.5, -3.0)))
    weights = {"weight_chosen": column(0.4, 1.2), "weight_rejected": column(1.6, 0.8)}
    constants = CASES[loss][0] | ({"label_smoothing": 0.1} if loss in ("sigmoid", "simpo", "cpo") else {})
    assert torch.autograd.gradcheck(lambda c, r: of(loss, terms(c, r, **weights), **constants).losses, inputs)


finite = st.floats(-50, 50)


@given(finite, finite)
def test_what_a_loss_is_at_the_edge_of_its_constant(delta_w: float, delta_l: float) -> None:
    pairs = terms(column(delta_w), column(delta_l))
    dpo = of("sigmoid", pairs).losses
    assert of("robust", pairs, label_smoothing=0).losses.equal(dpo)
    assert of("safedpo", pairs, safety_margin=0).losses.equal(dpo)
    assert of("bounded", pairs, policy_share=1).losses.equal(dpo)
    assert of("cpo", pairs, nll_weight=0).losses.equal(dpo)


@given(st.floats(-800, 800))
def test_a_rejected_response_pushed_down_ceases_to_pay_when_bounded(delta_l: float) -> None:
    bounded = of("bounded", terms(column(0), column(delta_l)), policy_share=0.75).losses.item()
    assert bounded >= math.log1p(math.exp(0.1 * math.log(0.25))) * (1 - 1e-12)


@given(st.floats(-60, 5), st.floats(-60, 60), st.floats(0.01, 0.99))
def test_the_chosen_response_keeps_its_probability_when_bounded(delta_w: float, delta_l: float, share: float) -> None:
    """Theorem 2 of arXiv 2506.12725: a loss no higher than at the start means pi(y_w) >= (1 - share) pi_ref(y_w)."""
    loss = of("bounded", terms(column(delta_w), column(delta_l)), policy_share=share).losses.item()
    if loss <= math.log(2):
        assert delta_w >= math.log1p(-share) - 1e-12


def test_plain_dpo_lets_the_chosen_response_go() -> None:
    """What the bound is for: 20 nats lost, and DPO's loss is nearly 0 since the rejected one lost 60."""
    pairs = terms(column(-20), column(-60))
    assert of("sigmoid", pairs).losses.item() == pytest.approx(math.log1p(math.exp(-4)), rel=1e-12)
    assert of("bounded", pairs, policy_share=0.5).losses.item() > math.log(2)


def test_simpo_as_its_authors_write_it() -> None:
    """Their code has beta * (mean log-prob difference - gamma / beta): 2 * (-1.5 / 2 + 6 / 4 - 0.25) = 1."""
    pairs = terms(column(-1.5), column(-6), chosen_tokens=column(2), rejected_tokens=column(4))
    found = of("simpo", pairs, beta=2, gamma=0.5)
    assert found.losses.item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-14)
    assert (found.chosen_rewards.item(), found.rejected_rewards.item()) == (-1.5, -3.0)


def test_cpo_of_equal_lengths_is_the_mean_over_all_tokens() -> None:
    """Two chosen responses of 4 tokens: 0.5 * (3 + 5) / 8 = 0.5 beside the preference losses."""
    pairs = terms(column(-3, -5), column(-8, -9), chosen_tokens=column(4, 4))
    with_nll, without = (of("cpo", pairs, nll_weight=w).losses for w in (0.5, 0.0))
    assert (with_nll - without).mean().item() == pytest.approx(0.5, rel=1e-14)


def test_safedpo_asks_for_its_margin_of_safe_over_unsafe_alone() -> None:
    """Both safe: DPO's u of 0.3; only the rejected one unsafe: 0.3 - 10."""
    pairs = terms(column(2, 2), column(-1, -1), unsafe_difference=column(0, 1))
    losses = of("safedpo", pairs, safety_margin=10).losses.tolist()
    assert losses == pytest.approx([math.log1p(math.exp(-0.3)), math.log1p(math.exp(9.7))], rel=1e-14)


@given(st.floats(-30, 30))
def test_robust_losses_of_both_labels_average_to_dpos(u: float) -> None:
    """Unbiased: with a share e of labels flipped, the expected robust loss is the loss of the true label."""
    e, delta = 0.2, 10 * u
    kept = of("robust", terms(column(delta), column(0)), label_smoothing=e).losses.item()
    flipped = of("robust", terms(column(0), column(delta)), label_smoothing=e).losses.item()
    true = of("sigmoid", terms(column(delta), column(0))).losses.item()
    assert (1 - e) * kept + e * flipped == pytest.approx(true, rel=1e-9, abs=1e-9)


def test_shapes_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"one shape, not .*'chosen_tokens': \(2,\)"):
        of("sigmoid", terms(column(1), column(1), chosen_tokens=column(1, 2)))
