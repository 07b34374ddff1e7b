"""Pure functions of the step: learning rate, data order, micro-batches."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from bdpo.config.train import Schedule
from bdpo.layout.rows import Layout, Row, group_rows


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


def pairs_until(step: int, *, num_pairs: int, batch_size: int) -> int:
    """Pairs in the first `step` steps of `step_indices`."""
    epochs, place = divmod(step, math.ceil(num_pairs / batch_size))
    return epochs * num_pairs + place * batch_size


class Pass(NamedTuple):
    """One forward and backward pass of one process."""

    pairs: list[int]
    """Whose chosen and rejected responses the rows hold, in order."""
    rows: list[Row]
    """A prompt and the responses of all its pairs a row; where nothing is packed, of one pair."""
    counts: bool
    """False for a pass that only keeps step with the other processes."""


def micro_batches(
    indices: Sequence[int], rows: Sequence[Row], *, rank: int, world: int, token_budget: int, layout: Layout
) -> list[Pass]:
    """A rank's share of a batch as forward passes, equally many on every rank.

    Args:
        indices: pairs of the batch.
        rows: all pairs.
        rank: this process.
        world: number of processes.
        token_budget: most tokens of a pass, padding included; a longer pair goes alone.
        layout: how rows are laid out.

    Returns:
        The passes; a rank with fewer repeats its first without weight, because collective operations need
        every rank.
    """
    shares = [list(indices[r::world]) or [indices[0]] for r in range(world)]
    grouped: list[list[Pass]] = []
    for r, share in enumerate(shares):
        shared = _share_prompts(share, rows, token_budget) if layout is Layout.PACKED else [[i] for i in share]
        merged = [
            Row(rows[pairs[0]].prompt_ids, tuple(s for i in pairs for s in rows[i].responses)) for pairs in shared
        ]
        grouped.append(
            [
                Pass([i for g in group for i in shared[g]], [merged[g] for g in group], r < len(indices))
                for group in group_rows(merged, token_budget, layout)
            ]
        )
    passes = max(map(len, grouped))
    own = grouped[rank]
    return own + [own[0]._replace(counts=False)] * (passes - len(own))


def _share_prompts(indices: Sequence[int], rows: Sequence[Row], token_budget: int) -> list[list[int]]:
    """Pairs with the same prompt together, which is then computed once, as long as their row keeps to the budget."""
    together: list[list[int]] = []
    latest: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for i in indices:
        prompt, length = rows[i].prompt_ids, sum(map(len, rows[i].responses))
        pairs, width = latest.get(prompt, ([], token_budget))
        if width + length > token_budget:
            pairs, width = [], len(prompt)
            together.append(pairs)
        pairs.append(i)
        latest[prompt] = (pairs, width + length)
    return together
