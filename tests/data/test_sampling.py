"""Weights and samples: seeded, by content, and steady when rows are added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.data.sampling import Kind, draw_prompts, is_kept
from bdpo.errors import UserError

SAFE: dict[str, Kind] = {f"s{i}": "safe" for i in range(40)}
UNSAFE: dict[str, Kind] = {f"u{i}": "unsafe" for i in range(40)}
PROMPTS = SAFE | UNSAFE


def drawn(kinds: dict[str, Kind], num_safe: int, num_unsafe: int, seed: int = 0) -> set[str]:
    return draw_prompts(kinds, num_safe=num_safe, num_unsafe=num_unsafe, num_unlabelled=1, seed=seed)


def test_a_weight_keeps_its_share() -> None:
    kept = sum(is_kept(f"row {i}", weight=0.3, seed=0) for i in range(10_000))
    assert abs(kept - 3000) < 5 * (10_000 * 0.3 * 0.7) ** 0.5  # five standard deviations


@given(st.binary(), st.floats(0.01, 0.99), st.integers())
def test_a_row_that_a_weight_keeps_is_kept_by_every_larger_one(row: bytes, weight: float, seed: int) -> None:
    assert is_kept(row, weight=1.0, seed=seed)
    assert not is_kept(row, weight=weight, seed=seed) or is_kept(row, weight=(1 + weight) / 2, seed=seed)


def test_another_seed_keeps_other_rows() -> None:
    kept = [[i for i in range(200) if is_kept(f"{i}", weight=0.5, seed=seed)] for seed in (0, 1)]
    assert kept[0] != kept[1]


def test_a_sample_has_as_many_prompts_of_each_kind_as_asked_for() -> None:
    names = drawn(PROMPTS, 3, 5)
    assert sorted(name[0] for name in names) == ["s"] * 3 + ["u"] * 5
    assert drawn(dict(reversed(PROMPTS.items())), 3, 5) == names
    assert drawn(PROMPTS, 3, 5, seed=1) != names


def test_added_prompts_displace_no_more_than_come_in() -> None:
    added: dict[str, Kind] = {f"t{i}": "safe" for i in range(4)}
    more = PROMPTS | added
    before, after = drawn(PROMPTS, 10, 0), drawn(more, 10, 0)
    assert len(before - after) == len({name for name in after if name.startswith("t")})


def test_too_large_a_sample_is_refused_with_what_there_is() -> None:
    message = r"ingest\.sample\.unsafe asks for 41 prompts .* there are 40 \(and 1 whose pairs carry no"
    with pytest.raises(UserError, match=message):
        drawn(PROMPTS, 1, 41)
