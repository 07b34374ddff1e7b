"""The figures of a step or of an evaluation: sums over pairs that processes add up, then means."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bdpo.losses import PreferenceLoss

MEANS = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    "weights/chosen",
    "weights/rejected",
)
_SIDES = ("chosen", "rejected")
_MOMENTS = ("mi", "mi^2", "reward^2", "reward*mi")
_NAMES = (*MEANS, *(f"{moment}/{side}" for side in _SIDES for moment in _MOMENTS))


class Figures:
    """Sums over the pairs of one process.

    `mi_correlation/chosen` is the Pearson correlation, over pairs, of the chosen response's reward and its
    mutual information: near 0 where a side's progress no longer depends on how well it is understood.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._sums = torch.zeros(len(_NAMES), dtype=torch.float64)

    def add(self, loss: PreferenceLoss, logps: Tensor, weights: Tensor, mi: Tensor) -> None:
        """Count k pairs.

        Args:
            loss: of the pairs, (k,) each.
            logps: (k, 2) under the policy, chosen and rejected.
            weights: (k, 2).
            mi: (k, 2), nan where it is not known.
        """
        rewards = torch.stack([loss.chosen_rewards, loss.rejected_rewards], dim=1).double()
        mi = mi.double()
        margins = rewards[:, 0] - rewards[:, 1]
        columns = [
            loss.losses.detach(),
            *rewards.unbind(1),
            margins,
            margins > 0,
            *logps.detach().unbind(1),
            *weights.unbind(1),
        ]
        for side in range(2):
            reward, known = rewards[:, side], mi[:, side]
            columns += [known, known**2, reward**2, reward * known]
        self._sums += torch.stack([column.double().sum() for column in columns]).cpu()

    @property
    def sums(self) -> list[float]:
        """What processes add up."""
        return self._sums.tolist()


def means(sums: Sequence[float], num_pairs: int) -> dict[str, float]:
    """Metrics of `num_pairs` pairs from the sums over all processes; a correlation only where there is one."""
    total = {name: value / num_pairs for name, value in zip(_NAMES, sums, strict=True)}
    result = {name: total[name] for name in MEANS}
    for side in _SIDES:
        reward, mi = total[f"rewards/{side}"], total[f"mi/{side}"]
        spread = (total[f"reward^2/{side}"] - reward**2) * (total[f"mi^2/{side}"] - mi**2)
        if spread > _SMALLEST_SPREAD:
            result[f"mi_correlation/{side}"] = (total[f"reward*mi/{side}"] - reward * mi) / math.sqrt(spread)
    return result


_SMALLEST_SPREAD = 1e-18
"""Below it the product of the variances is rounding: before the first update every reward is 0."""
