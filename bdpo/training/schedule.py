"""Pure functions of the step: learning rate, data order, micro-batches."""

import math
from collections.abc import Sequence
from typing import Literal

import torch

from bdpo.layout.rows import Layout, Row, group_rows

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate(step: int, *, peak: float, total: int, warmup: int, schedule: Schedule) -> float:
    """The learning rate of an optimizer step.

    Args:
        step: counted from 0.
        peak: reached at the end of the warm-up.
        total: number of steps; `linear` and `cosine` would reach 0 at the step after the last.
        warmup: steps of the linear rise, the first of which is at peak / warmup.
        schedule: what follows the warm-up.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(total - warmup, 1)
    if schedule == "linear":
        return peak * (1 - share)
    if schedule == "cosine":
        return peak * (1 + math.cos(math.pi * share)) / 2
    return peak


def step_indices(step: int, *, num_pairs: int, batch_size: int, seed: int) -> list[int]:
    """The pairs of an optimizer step: a seeded permutation an epoch, cut into batches.

    A function of its arguments alone, so that a resumed run goes on where it was.  The last batch of an
    epoch may be smaller.
    """
    steps_per_epoch = math.ceil(num_pairs / batch_size)
    epoch, place = divmod(step, steps_per_epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(num_pairs, generator=generator).tolist()
    return order[place * batch_size : (place + 1) * batch_size]


def micro_batches(
    indices: Sequence[int], rows: Sequence[Row], *, rank: int, world: int, token_budget: int, layout: Layout
) -> list[tuple[list[int], bool]]:
    """A rank's share of a batch as forward passes, equally many on every rank.

    Args:
        indices: pairs of the batch.
        rows: all pairs.
        rank: this process.
        world: number of processes.
        token_budget: most tokens of a pass.
        layout: how rows are laid out.

    Returns:
        (pairs, whether they count) a pass; a rank with fewer passes repeats its first without weight,
        because collective operations need every rank.
    """
    shares = [list(indices[r::world]) or [indices[0]] for r in range(world)]
    grouped = []
    for r, share in enumerate(shares):
        groups = group_rows([rows[i] for i in share], token_budget, layout)
        grouped.append([([share[i] for i in group], r < len(indices)) for group in groups])
    passes = max(map(len, grouped))
    own = grouped[rank]
    return own + [(own[0][0], False)] * (passes - len(own))
