"""Near-duplicates: which are found, and what they are called."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bdpo.data.near import band_width, bands, similar
from bdpo.data.rows import Candidate
from tests.data.ingested import refusals, run
from tests.tiny_run import write_jsonl

WORDS = [f"word{i}" for i in range(500)]


def text(chance: random.Random, length: int) -> list[str]:
    return chance.choices(WORDS, k=length)


def changed(said: list[str], num: int, chance: random.Random) -> str:
    """A text with some words replaced, far from one another."""
    said = said.copy()
    for place in range(0, len(said), max(len(said) // num, 1))[:num]:
        said[place] = f"other{chance.random()}"
    return " ".join(said)


def row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def candidate(prompt: str, chosen: str, rejected: str) -> Candidate:
    return Candidate([{"role": "user", "content": prompt}], chosen, rejected)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_find_as_many_as_promised(threshold: float) -> None:
    width = band_width(threshold)
    num = 128 // width
    assert 1 - (1 - threshold**width) ** num >= 0.99
    assert width == 128 or 1 - (1 - threshold ** (width + 1)) ** (128 // (width + 1)) < 0.99


def test_similar_pairs_meet_in_a_band_and_others_hardly_do() -> None:
    chance = random.Random(0)
    first, second = [], []
    for _ in range(300):
        said = [text(chance, 120) for _ in range(3)]
        first.append(candidate(*map(" ".join, said)))
        second.append(candidate(*(changed(part, 2, chance) for part in said)))
    assert all(similar(vars(a), vars(b), 0.8) for a, b in zip(first, second, strict=True))
    one, other = bands(first, 0.8), bands(second, 0.8)
    assert ((one == other).any(axis=1)).mean() > 0.98
    assert ((one[1:] == one[:-1]).any(axis=1)).mean() < 0.02


@pytest.mark.parametrize("same", ["prompt", "responses"])
def test_pairs_that_share_a_long_prompt_or_long_responses_do_not_meet(same: str) -> None:
    """Each is compared with the first few that it meets: these would keep it from what it resembles."""
    chance = random.Random(4)
    long, pairs = " ".join(text(chance, 2000)), []
    for _ in range(100):
        one, other = (" ".join(text(chance, 15)) for _ in range(2))
        pairs.append(candidate(long, one, other) if same == "prompt" else candidate(one, long, long))
    found = bands(pairs, 0.8)
    assert ((found[1:] == found[:-1]).any(axis=1)).mean() < 0.02


def test_last_turn_responses_and_whole_prompt_have_each_to_be_alike() -> None:
    """However alike the rest is: a short question after a long talk, and the same one after another talk."""
    chance = random.Random(3)
    talk, other_talk, question, other_question, chosen, rejected = (
        " ".join(text(chance, n)) for n in (90, 90, 9, 9, 60, 60)
    )

    def asked(before: str, last: str, chosen: str, rejected: str) -> dict[str, Any]:
        said = zip(("user", "assistant", "user"), (before, "I see.", last), strict=True)
        return vars(Candidate([{"role": role, "content": content} for role, content in said], chosen, rejected))

    one = asked(talk, question, chosen, rejected)
    assert similar(one, asked(talk, question, rejected, chosen), 0.8)
    for other in (
        asked(other_talk, question, chosen, rejected),
        asked(talk, other_question, chosen, rejected),
        asked(talk, question, chosen, other_talk),
    ):
        assert not similar(one, other, 0.8)


def test_each_response_has_to_be_alike_however_long_the_other_is() -> None:
    chance = random.Random(5)
    prompt, long = (" ".join(text(chance, n)) for n in (20, 300))
    one, other = "I won't help with that.", "Sure, here it is."
    assert not similar(vars(candidate(prompt, one, long)), vars(candidate(prompt, other, long)), 0.8)
    assert not similar(vars(candidate(prompt, one, long)), vars(candidate(prompt, long, other)), 0.8)
    assert similar(vars(candidate(prompt, one, long)), vars(candidate(prompt, long, one.upper())), 0.8)


def test_a_near_duplicate_is_refused_with_the_name_of_what_it_resembles(tmp_path: Path) -> None:
    chance = random.Random(1)
    said = [text(chance, 60) for _ in range(3)]
    prompt, chosen, rejected = map(" ".join, said)
    rows = [
        row(prompt, chosen, rejected),
        row(prompt, " ".join(text(chance, 60)), " ".join(text(chance, 60))),  # the prompt alone is alike
        row(" ".join(text(chance, 60)), chosen, rejected),  # the responses alone are
        row(changed(said[0], 1, chance), changed(said[1], 1, chance), rejected.upper()),
        row(prompt, changed(said[2], 1, chance), chosen),  # with the other side preferred
        row(prompt, chosen, ""),
    ]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    run(path, tmp_path / "off")
    assert refusals(tmp_path / "off") == [(6, "blank_rejected")]
    run(path, tmp_path / "on", near_duplicates=0.8)
    assert refusals(tmp_path / "on") == [(4, "near_duplicate"), (5, "near_duplicate"), (6, "blank_rejected")]
    reasons = {r["rule"]: r["reason"] for r in pq.read_table(tmp_path / "on" / "quarantine.parquet").to_pylist()}
    assert reasons["near_duplicate"] == "nearly the same pair as x.jsonl:1"


def test_a_pair_that_another_rule_refuses_makes_no_near_duplicates(tmp_path: Path) -> None:
    """Of a pair that is there with either side preferred both are refused; the one that is nearly both stays."""
    chance = random.Random(2)
    said = [text(chance, 60) for _ in range(3)]
    prompt, chosen, rejected = map(" ".join, said)
    rows = [
        row(prompt, chosen, rejected),
        row(prompt, rejected, chosen),
        row(changed(said[0], 1, chance), chosen, rejected),
    ]
    run(write_jsonl(tmp_path / "x.jsonl", rows), tmp_path / "out", near_duplicates=0.8)
    assert refusals(tmp_path / "out") == [(1, "contradictory_labels"), (2, "contradictory_labels")]


def test_short_pairs_are_alike_only_where_they_are_the_same(tmp_path: Path) -> None:
    rows = [
        row("Why?", "No.", "Yes."),
        row("why", "yes", "no"),
        row("Why not?", "No.", "Yes."),
        row("Why?", "No!", "Yo."),
    ]
    run(write_jsonl(tmp_path / "x.jsonl", rows), tmp_path / "out", near_duplicates=0.5)
    assert refusals(tmp_path / "out") == [(2, "near_duplicate")]
