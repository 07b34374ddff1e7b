"""Log-probs to loss: the one copy of every preference loss.

Pure functions of n pairs, one value a pair; the caller reduces.  Letters:

    logp      summed log-prob of a response under the policy, in nats
    delta     logp_policy(y|x) - logp_ref(y|x), the log-ratio
    _w, _l    of the chosen and of the rejected response
    u         the argument of the sigmoid

Which method uses which loss, with which hyperparameters: `bdpo.config.methods`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bdpo.config.methods import Loss


class PairTerms(NamedTuple):
    """What the losses of n pairs are made of; every tensor is (n,)."""

    policy_chosen_logps: Tensor
    policy_rejected_logps: Tensor
    ref_chosen_logps: Tensor
    """Zeros where the loss has no reference."""
    ref_rejected_logps: Tensor
    chosen_tokens: Tensor
    """Tokens of the chosen response, at least 1."""
    rejected_tokens: Tensor
    weight_chosen: Tensor
    """The scaled weight s * w_w, a constant; 1 for all but the weighted methods."""
    weight_rejected: Tensor
    unsafe_difference: Tensor
    """h_l - h_w, h being 1 for an unsafe response: 1 where only the rejected one is unsafe, else 0."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Constants of the losses; each loss reads its own."""

    beta: float
    label_smoothing: float = 0.0
    gamma: float = 0.0
    nll_weight: float = 0.0
    safety_margin: float = 0.0
    policy_share: float = 1.0


class PreferenceLoss(NamedTuple):
    """Per-pair values; the caller reduces."""

    losses: Tensor
    """(n,) differentiable."""
    chosen_rewards: Tensor
    """(n,) detached: beta * delta_w; beta * logp_w without a reference, SimPO's by the token."""
    rejected_rewards: Tensor


def preference_loss(loss: Loss, terms: PairTerms, constants: Hyperparameters) -> PreferenceLoss:
    """Losses and rewards of n pairs.

    Args:
        loss: which loss.
        terms: (n,) tensors.
        constants: those that the loss does not use are not read.

    Raises:
        ValueError: shapes differ.
    """
    if len({tuple(term.shape) for term in terms}) != 1:
        shapes = {name: tuple(term.shape) for name, term in terms._asdict().items()}
        raise ValueError(f"all tensors need one shape, not {shapes}")
    beta, smoothing = constants.beta, constants.label_smoothing
    chosen = terms.policy_chosen_logps - terms.ref_chosen_logps
    rejected = terms.policy_rejected_logps - terms.ref_rejected_logps
    match loss:
        case "sigmoid":
            weights = (terms.weight_chosen.detach(), terms.weight_rejected.detach())
            losses = sigmoid_loss(beta * (weights[0] * chosen - weights[1] * rejected), label_smoothing=smoothing)
        case "robust":
            losses = robust_loss(beta * (chosen - rejected), label_smoothing=smoothing)
        case "ipo":
            losses = ipo_loss(chosen / terms.chosen_tokens, rejected / terms.rejected_tokens, beta=beta)
        case "hinge":
            losses = hinge_loss(beta * (chosen - rejected))
        case "simpo":
            chosen, rejected = chosen / terms.chosen_tokens, rejected / terms.rejected_tokens
            # SimPO (arXiv 2405.14734, eq. 6): u = beta / |y_w| logp_w - beta / |y_l| logp_l - gamma
            losses = sigmoid_loss(beta * (chosen - rejected) - constants.gamma, label_smoothing=smoothing)
        case "cpo":
            losses = sigmoid_loss(beta * (chosen - rejected), label_smoothing=smoothing)
            losses = losses + constants.nll_weight * nll_loss(chosen, terms.chosen_tokens)
        case "safedpo":
            # SafeDPO (arXiv 2505.20065, eq. 12): u = beta * (delta_w - delta_l) - (h_l - h_w) * margin
            losses = sigmoid_loss(beta * (chosen - rejected) - constants.safety_margin * terms.unsafe_difference)
        case "bounded":
            bounded = bounded_log_ratio(rejected, policy_share=constants.policy_share)
            losses = sigmoid_loss(beta * (chosen - bounded))
    return PreferenceLoss(losses, beta * chosen.detach(), beta * rejected.detach())


def sigmoid_loss(u: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(u); with smoothing e, -(1 - e) log sigmoid(u) - e log sigmoid(-u).

    DPO (arXiv 2305.18290, eq. 7) with u = beta * (delta_w - delta_l), and conservative DPO: a share e
    of the labels is taken to be wrong.  B-DPO (arXiv 2603.22829, in the form of the README) with
    u = beta * (w_w * delta_w - w_l * delta_l).

    Args:
        u: (n,).
        label_smoothing: e, from 0 to below 1/2.
    """
    if label_smoothing == 0:
        return -F.logsigmoid(u)
    return -(1 - label_smoothing) * F.logsigmoid(u) - label_smoothing * F.logsigmoid(-u)


def robust_loss(u: Tensor, *, label_smoothing: float) -> Tensor:
    """Robust DPO (arXiv 2403.00409): unbiased under labels that are flipped with probability e.

    L = (-(1 - e) log sigmoid(u) + e log sigmoid(-u)) / (1 - 2e);  may be negative.  The formula is the one
    that makes the mean over flips the loss of the true label, and TRL's `robust`; the paper's text was not
    at hand.

    Args:
        u: (n,) beta * (delta_w - delta_l).
        label_smoothing: e, from 0 to below 1/2.
    """
    clean, flipped = -F.logsigmoid(u), -F.logsigmoid(-u)
    return ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def ipo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """IPO: (delta_w / |y_w| - delta_l / |y_l| - 1 / (2 beta))^2 (arXiv 2310.12036, eq. 17).

    Per token, as its authors and TRL have it; otherwise the target would depend on the lengths.

    Args:
        chosen: (n,) delta_w / |y_w|.
        rejected: (n,) delta_l / |y_l|.
        beta: the paper's tau.
    """
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def hinge_loss(u: Tensor) -> Tensor:
    """max(0, 1 - u), u = beta * (delta_w - delta_l).

    SLiC (arXiv 2305.10425) with the reference model inside, which is the hinge-norm loss of RSO
    (arXiv 2309.06657), its gamma being beta here; TRL's `hinge`.
    """
    return torch.relu(1 - u)


def nll_loss(chosen_logps: Tensor, chosen_tokens: Tensor) -> Tensor:
    """-logp_w / |y_w|: CPO's pull to the chosen response, in nats a token.

    The paper (arXiv 2401.08417, eq. 5) has the sum -logp_w; its authors' code, and TRL's, the mean over all
    tokens of a batch.  Here it is the mean over the tokens of a pair, so that a loss depends on its own pair
    alone; for responses of one length it is the authors'.
    """
    return -chosen_logps / chosen_tokens


def bounded_log_ratio(rejected: Tensor, *, policy_share: float) -> Tensor:
    """log(pi_mix / pi_ref) of the rejected response, pi_mix = a pi_policy + (1 - a) pi_ref.

    Bounded DPO (arXiv 2506.12725) is DPO with this in place of delta_l; a is the paper's lambda, 0.5 its best.
    It cannot fall below log(1 - a), so that pushing the rejected response down ceases to pay.  From the
    authors' summary of the paper, whose text was not at hand; the paper's Theorem 2 follows from this form
    and is tested: a loss no higher than at the start means pi_policy(y_w) >= (1 - a) pi_ref(y_w).

    Args:
        rejected: (n,) delta_l, of whole responses.
        policy_share: a, above 0; 1 is DPO.
    """
    if policy_share == 1:
        return rejected
    a = rejected.new_tensor(policy_share)
    return torch.logaddexp(a.log() + rejected, torch.log1p(-a).expand_as(rejected))
