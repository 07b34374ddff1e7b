"""Weights and samples: seeded, by content, and steady when rows are added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.data.rows import Candidate
from bdpo.data.sampling import is_kept, sample_prompts
from bdpo.errors import UserError


def pair(prompt: str, rejected_safe: bool | None, response: str = "a") -> Candidate:
    return Candidate([{"role": "user", "content": prompt}], response, "b", rejected_safe=rejected_safe)


PAIRS = [pair(f"s{i}", True) for i in range(40)] + [pair(f"u{i}", False) for i in range(40)] + [pair("none", None)]


def drawn(pairs: list[Candidate], num_safe: int, num_unsafe: int, seed: int = 0) -> list[str]:
    kept = sample_prompts(pairs, num_safe=num_safe, num_unsafe=num_unsafe, seed=seed)
    return [item.prompt[0]["content"] for item, is_in in zip(pairs, kept, strict=True) if is_in]


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
    names = drawn(PAIRS, 3, 5)
    assert sorted(name[0] for name in names) == ["s"] * 3 + ["u"] * 5
    assert drawn(PAIRS, 3, 5) == names
    assert drawn(PAIRS, 3, 5, seed=1) != names
    assert drawn(list(reversed(PAIRS)), 3, 5) == list(reversed(names))


def test_a_drawn_prompt_keeps_all_its_pairs_and_is_unsafe_where_one_of_them_is() -> None:
    pairs = [pair("Q", True), pair("Q", False, "other"), pair("Q", None, "third")]
    assert drawn(pairs, 0, 1) == ["Q"] * 3
    with pytest.raises(UserError, match=r"ingest\.sample\.safe asks for 1 prompts"):
        drawn(pairs, 1, 0)


def test_added_prompts_displace_no_more_than_come_in() -> None:
    before, after = (set(drawn(pairs, 10, 0)) for pairs in (PAIRS, PAIRS + [pair(f"t{i}", True) for i in range(4)]))
    assert before - after == before - (before & after)
    assert len(before - after) == len({name for name in after if name.startswith("t")})


def test_too_large_a_sample_is_refused_with_what_there_is() -> None:
    message = r"ingest\.sample\.unsafe asks for 41 prompts .* there are 40 \(and 1 whose pairs carry no"
    with pytest.raises(UserError, match=message):
        drawn(PAIRS, 1, 41)
