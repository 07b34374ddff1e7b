"""What the report says of the stages before: data, training and weights."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from bdpo.artifacts.manifest import Manifest, read_manifest
from bdpo.balance import Forms, balance_weights

_CURVES = ("loss", "rewards/margins", "rewards/accuracies")

Curves = dict[str, dict[str, tuple[list[int], list[float]]]]


class Information(NamedTuple):
    """Mutual information of the training pairs, and the weights that follow."""

    mi_chosen: NDArray[np.float64]
    mi_rejected: NDArray[np.float64]
    weights: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    """Scaled weights of both sides; None for a method whose forms are both `none`."""


def manifest_of(folder: Path) -> Manifest:
    """The manifest of an artifact that is whole."""
    manifest = read_manifest(folder)
    assert manifest is not None, f"{folder} was whole a moment ago"
    return manifest


def quarantined_by_rule(pairs: Path) -> dict[str, int]:
    """Rule to the number of rows it refused, the most first."""
    rules = pq.read_table(pairs / "quarantine.parquet", columns=["rule"])["rule"].to_pylist()
    return dict(Counter(rules).most_common())


def pairs_by_split(pairs: Path) -> dict[str, int]:
    """Split to its number of pairs."""
    return dict(sorted(Counter(pq.read_table(pairs / "pairs.parquet", columns=["split"])["split"].to_pylist()).items()))


def trained_pairs(training: Manifest) -> int:
    """Pairs that the policy's weights have seen: fewer than there are where it is of a step within the first epoch."""
    seen: int = training.summary["policy_of_step"] * training.reads["train.batch_size"]
    available: int = training.summary["pairs"]
    return min(seen, available)


def training_curves(trained: Path) -> Curves:
    """Metric to split to steps and values, of the metrics that were recorded; `eval_loss` is the loss of validation."""
    rows = pq.read_table(trained / "metrics.parquet", columns=["step", "split", "metric", "value"]).to_pylist()
    curves: Curves = {metric: {} for metric in _CURVES}
    for row in rows:
        metric = row["metric"].removeprefix("eval_")
        if metric in curves:
            steps, values = curves[metric].setdefault(row["split"], ([], []))
            steps.append(row["step"])
            values.append(row["value"])
    return {metric: splits for metric, splits in curves.items() if splits}


def information_of(scores: Path, training: Manifest) -> Information | None:
    """Mutual information and weights of the training split; None where it has no pairs.

    Args:
        scores: folder with `scored_pairs.parquet`.
        training: the manifest of training, whose forms and constants are used.
    """
    table = pq.read_table(scores / "scored_pairs.parquet", columns=["split", "mi_chosen", "mi_rejected"])
    table = table.filter(pc.field("split") == "train")
    if table.num_rows == 0:
        return None
    chosen, rejected = (table[name].to_numpy().astype("float64") for name in ("mi_chosen", "mi_rejected"))
    forms = Forms(**training.summary["forms"])
    if forms.balance == "none" and forms.scale == "none":
        return Information(chosen, rejected, None)
    weights = balance_weights(
        torch.from_numpy(chosen),
        torch.from_numpy(rejected),
        forms=forms,
        mi_floor=training.reads["train.mi_floor"],
        tau=training.reads["train.tau"],
    )
    return Information(chosen, rejected, (weights.scaled_chosen.numpy(), weights.scaled_rejected.numpy()))
