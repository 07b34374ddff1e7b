"""Means and correlations of pairs, in parts as processes have them."""

import numpy as np
import pytest
import torch

from bdpo.losses import PreferenceLoss
from bdpo.training.figures import MEANS, Figures, means
from bdpo.training.watch import GAPS
from tests.paths import ROOT


def part(rewards: torch.Tensor, mi: torch.Tensor) -> Figures:
    figures = Figures()
    loss = PreferenceLoss(rewards[:, 0].abs(), rewards[:, 0], rewards[:, 1])
    figures.add(loss, -10 * rewards.abs(), 2 - mi, mi)
    return figures


def test_parts_add_up_to_means_and_pearsons_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, mi = torch.randn(9, 2, generator=generator), torch.randn(9, 2, generator=generator)
    parts = [part(rewards[:4], mi[:4]).sums, part(rewards[4:], mi[4:]).sums]
    found = means([a + b for a, b in zip(*parts, strict=True)], 9)
    chosen, rejected = rewards.double().numpy().T
    expected = {
        "loss": np.abs(chosen),
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": chosen > rejected,
        "logps/chosen": -10 * np.abs(chosen),
        "logps/rejected": -10 * np.abs(rejected),
        "weights/chosen": 2 - mi[:, 0].numpy(),
        "weights/rejected": 2 - mi[:, 1].numpy(),
    }
    correlations = {
        "mi_correlation/chosen": np.corrcoef(chosen, mi[:, 0])[0, 1],
        "mi_correlation/rejected": np.corrcoef(rejected, mi[:, 1])[0, 1],
    }
    assert found == pytest.approx({name: values.mean() for name, values in expected.items()} | correlations, rel=1e-5)


def test_equal_rewards_are_not_accurate_and_correlate_with_nothing() -> None:
    found = means(part(torch.zeros(3, 2), torch.rand(3, 2)).sums, 3)
    assert found["rewards/accuracies"] == 0
    assert not any(name.startswith("mi_correlation") for name in found)


def test_without_mutual_information_there_is_no_correlation() -> None:
    found = means(part(torch.rand(3, 2), torch.full((3, 2), torch.nan)).sums, 3)
    assert not any(name.startswith("mi_correlation") for name in found)


def test_the_readme_says_what_each_metric_is() -> None:
    correlations = {"mi_correlation/chosen", "mi_correlation/rejected"}
    names = {*MEANS, *correlations, *(f"gap/{name}" for name in GAPS), "grad_norm", "learning_rate", "num_tokens"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, table = readme.partition("| metric | mean over")
    table, _, _ = table.partition("\n\n")
    assert {name for name in names if f"`{name}`" not in table} == set()
