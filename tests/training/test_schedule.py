"""Learning rate, data order and micro-batches: functions of the step alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.config.train import Schedule
from bdpo.layout.rows import Layout, Row, collate
from bdpo.training.schedule import learning_rate, micro_batches, pairs_until, step_indices


def rates(schedule: Schedule, *, total: int, warmup: int) -> list[float]:
    return [learning_rate(s, peak=1.0, total=total, warmup=warmup, schedule=schedule) for s in range(total)]


def test_rates_by_hand() -> None:
    """Two steps of warm-up at 1/2 and 1, then four steps from 1 towards the 0 that step 6 would have."""
    assert rates("constant", total=6, warmup=2) == [0.5, 1, 1, 1, 1, 1]
    assert rates("linear", total=6, warmup=2) == [0.5, 1, 1, 0.75, 0.5, 0.25]
    half = math.cos(math.pi / 4)
    assert rates("cosine", total=6, warmup=2) == pytest.approx([0.5, 1, 1, (1 + half) / 2, 0.5, (1 - half) / 2])
    assert rates("linear", total=2, warmup=0) == [1, 0.5]


def test_a_run_that_is_all_warm_up_has_rates() -> None:
    assert rates("cosine", total=1, warmup=1) == [1]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**40), st.integers(0, 4))
def test_an_epoch_visits_every_pair_once(num_pairs: int, batch_size: int, seed: int, epoch: int) -> None:
    steps = math.ceil(num_pairs / batch_size)
    batches = [
        step_indices(epoch * steps + i, num_pairs=num_pairs, batch_size=batch_size, seed=seed) for i in range(steps)
    ]
    assert sorted(i for batch in batches for i in batch) == list(range(num_pairs))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 12))
def test_pairs_are_counted_as_they_were_seen(num_pairs: int, batch_size: int, steps: int) -> None:
    batches = [step_indices(step, num_pairs=num_pairs, batch_size=batch_size, seed=0) for step in range(steps)]
    assert pairs_until(steps, num_pairs=num_pairs, batch_size=batch_size) == sum(map(len, batches))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(step_indices(step, num_pairs=30, batch_size=30, seed=seed)) for step in range(3) for seed in range(3)
    }
    assert len(orders) == 9


lengths = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))


@given(st.lists(lengths, min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 120), st.sampled_from(Layout))
def test_ranks_share_a_batch_and_make_equally_many_passes(
    sizes: list[tuple[int, int, int]], world: int, token_budget: int, layout: Layout
) -> None:
    # Prompts of one length are one prompt.
    rows = [Row((1,) * p, ((2,) * c, (3 + n,) * r)) for n, (p, c, r) in enumerate(sizes)]
    indices = list(range(len(rows)))[::-1]
    shares = [
        micro_batches(indices, rows, rank=rank, world=world, token_budget=token_budget, layout=layout)
        for rank in range(world)
    ]
    assert len({len(share) for share in shares}) == 1
    assert all(one.pairs for share in shares for one in share)  # no pass without rows: the model must run
    assert sorted(i for share in shares for one in share if one.counts for i in one.pairs) == sorted(indices)
    for one in (one for share in shares for one in share):
        responses = [response for row in one.rows for response in row.responses]
        assert responses == [response for i in one.pairs for response in rows[i].responses]
        assert len(one.pairs) == 1 or collate(one.rows, layout).input_ids.numel() <= token_budget


def passes(rows: list[Row], *, rank: int, world: int, token_budget: int = 40) -> list[tuple[list[int], bool]]:
    found = micro_batches(
        range(len(rows)), rows, rank=rank, world=world, token_budget=token_budget, layout=Layout.PACKED
    )
    return [(one.pairs, one.counts) for one in found]


def test_a_rank_with_less_to_do_repeats_a_pass_without_weight() -> None:
    """Rank 0 gets the two long rows, which do not fit one pass of 40 tokens; rank 1 the two short ones, which do."""
    long, short = Row((1,) * 20, ((2,) * 5, (3,) * 5)), Row((1,), ((2,), (3,)))
    other_long, other_short = Row((4,) * 20, long.responses), Row((4,), short.responses)
    rows = [long, short, other_long, other_short]
    assert passes(rows, rank=0, world=2) == [([0], True), ([2], True)]
    assert passes(rows, rank=1, world=2) == [([1, 3], True), ([1, 3], False)]


def test_a_rank_without_pairs_runs_the_first_without_weight() -> None:
    assert passes([Row((1,), ((2,), (3,)))], rank=1, world=2) == [([0], False)]


def test_pairs_with_one_prompt_share_a_row_within_the_budget() -> None:
    """Prompt 7 7 7 has three pairs of 2 tokens: two of them fit a row of 8 tokens, the third starts another."""
    same = [Row((7, 7, 7), ((i,), (i + 1,))) for i in (1, 3, 5)]
    other = Row((8,), ((9,), (9,)))
    (one,) = micro_batches(
        [0, 1, 2, 3], [same[0], other, same[1], same[2]], rank=0, world=1, token_budget=8, layout=Layout.PACKED
    )[:1]
    assert one.pairs[:2] == [0, 2]
    assert one.rows[0] == Row((7, 7, 7), ((1,), (2,), (3,), (4,)))
    everything = passes([same[0], other, same[1], same[2]], rank=0, world=1, token_budget=8)
    assert sorted(i for pairs, _ in everything for i in pairs) == [0, 1, 2, 3]
