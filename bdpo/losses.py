"""Log-probs to loss: the one copy of the preference loss.

Pure functions; n pairs.  delta = logp_policy(y|x) - logp_ref(y|x), summed over a
response's tokens, in nats.
"""

from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class PreferenceLoss(NamedTuple):
    """Per-pair values; the caller reduces."""

    losses: Tensor
    """(n,) differentiable."""
    chosen_rewards: Tensor
    """(n,) beta * delta_w, detached."""
    rejected_rewards: Tensor
    """(n,) beta * delta_l, detached."""


def preference_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    *,
    beta: float,
    weight_chosen: Tensor,
    weight_rejected: Tensor,
) -> PreferenceLoss:
    """DPO's loss with a weight on each side; with weights of 1 it is DPO.

    L = -log sigmoid(beta * (w_w * delta_w - w_l * delta_l))
    (DPO: arXiv 2305.18290, eq. 7; B-DPO: arXiv 2603.22829, in the form of the README.)

    Args:
        policy_chosen_logps: (n,) summed log-probs of the chosen responses under the policy.
        policy_rejected_logps: (n,) of the rejected ones.
        ref_chosen_logps: (n,) under the reference.
        ref_rejected_logps: (n,) under the reference.
        beta: strength of the pull towards the reference.
        weight_chosen: (n,) the scaled weight s * w_w, a constant.
        weight_rejected: (n,) the scaled weight s * w_l, a constant.

    Raises:
        ValueError: shapes differ.
    """
    shapes = {
        tuple(t.shape)
        for t in (
            policy_chosen_logps,
            policy_rejected_logps,
            ref_chosen_logps,
            ref_rejected_logps,
            weight_chosen,
            weight_rejected,
        )
    }
    if len(shapes) != 1:
        raise ValueError(f"all six tensors need one shape, not {sorted(shapes)}")
    log_ratio_chosen = policy_chosen_logps - ref_chosen_logps
    log_ratio_rejected = policy_rejected_logps - ref_rejected_logps
    margin = weight_chosen.detach() * log_ratio_chosen - weight_rejected.detach() * log_ratio_rejected
    return PreferenceLoss(
        losses=-F.logsigmoid(beta * margin),
        chosen_rewards=beta * log_ratio_chosen.detach(),
        rejected_rewards=beta * log_ratio_rejected.detach(),
    )
