"""Single responses become pairs within a prompt, and no row is lost on the way."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdpo.data.formats.beavertails import Response, pair_responses, parse_beavertails
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem

HARMS = {"privacy": False, "theft": True, "drugs": True}


def row(prompt: str, response: str, safe: bool) -> dict[str, Any]:
    harms = dict.fromkeys(HARMS, False) if safe else HARMS
    return {"prompt": prompt, "response": response, "is_safe": safe, "category": harms}


def pair(*rows: dict[str, Any]) -> list[Parsed]:
    prompts: dict[str, list[tuple[RawRow, Response]]] = {}
    for line, value in enumerate(rows, 1):
        prompts.setdefault(value["prompt"], []).append((RawRow("x", line, b"", value), parse_beavertails(value)))
    return list(pair_responses(prompts.values()))


def outcome(parsed: Parsed) -> tuple[list[int], str | tuple[str, str]]:
    lines = [raw.line for raw in parsed.rows]
    if isinstance(parsed.outcome, RowProblem):
        return lines, parsed.outcome.rule
    assert parsed.outcome is not None
    return lines, (parsed.outcome.chosen, parsed.outcome.rejected)


def test_a_safe_response_is_chosen_over_an_unsafe_one() -> None:
    (parsed,) = pair(row("Q", "bad", False), row("Q", "good", True) | {"id": 7})
    assert parsed.outcome == Candidate(
        prompt=[{"role": "user", "content": "Q"}],
        chosen="good",
        rejected="bad",
        category="theft",
        chosen_safe=True,
        rejected_safe=False,
        meta={"chosen": {"harms": [], "id": 7}, "rejected": {"harms": ["theft", "drugs"]}},
    )


def test_each_response_is_used_once_and_leftovers_are_refused() -> None:
    found = pair(
        row("Q", "s1", True),
        row("Q", "u1", False),
        row("R", "s1", True),  # nothing unsafe answers R
        row("Q", "s2", True),
        row("Q", "u2", False),
        row("Q", "u3", False),
    )
    assert [outcome(parsed) for parsed in found] == [
        ([1, 2], ("s1", "u1")),
        ([4, 5], ("s2", "u2")),
        ([6], "unpaired_response"),
        ([3], "unpaired_response"),
    ]


def test_rows_of_one_response_are_its_annotations_of_which_most_decide() -> None:
    found = pair(
        row("Q", "s", True),
        row("Q", "u", False),
        row("Q", " s ", True),
        row("Q", "s", False),  # outvoted, and used all the same
        row("Q", "tied", True),
        row("Q", "u", False),
        row("Q", "tied", False),
        row("Q", "alone", False),
        row("Q", "alone", False),
    )
    assert [outcome(parsed) for parsed in found] == [
        ([5, 7], "contradictory_labels"),
        ([1, 3, 4, 2, 6], ("s", "u")),
        ([8, 9], "unpaired_response"),
    ]


def test_harms_are_those_that_the_majority_names() -> None:
    (parsed,) = pair(
        row("Q", "u", True) | {"category": {"privacy": True}},  # outvoted
        row("Q", "u", False) | {"category": {"theft": False, "drugs": True}, "harms": "of its own"},
        row("Q", "u", False) | {"category": {"theft": True, "drugs": True}, "id": 7},
        row("Q", "s", True),
    )
    assert isinstance(parsed.outcome, Candidate)
    assert parsed.outcome.category == "drugs"
    assert parsed.outcome.meta["chosen"] == {"harms": []}
    (parsed,) = pair(*(row("Q", "u", False) | {"category": {name: True}} for name in "ab"), row("Q", "s", True))
    assert isinstance(parsed.outcome, Candidate)
    assert parsed.outcome.meta["rejected"] == {"harms": ["a", "b"]}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"prompt": None}, "missing_field"),
        ({"response": " \n"}, "blank_response"),
        ({"response": "\ud800"}, "invalid_utf8"),
        ({"is_safe": "perhaps"}, "wrong_type"),
        ({"category": None}, "missing_field"),
        ({"category": "theft"}, "wrong_type"),
        ({"category": {"theft": "yes"}}, "wrong_type"),
    ],
)
def test_a_response_that_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(RowProblem) as problem:
        parse_beavertails(row("Q", "a", False) | changes)
    assert problem.value.rule == rule


@given(st.lists(st.tuples(st.sampled_from("PQ"), st.sampled_from("abcdef"), st.booleans()), max_size=40))
def test_every_row_comes_out_once_and_no_pair_was_possible_with_what_is_left(
    rows: list[tuple[str, str, bool]],
) -> None:
    found = pair(*(row(*fields) for fields in rows))
    lines = Counter(raw.line for parsed in found for raw in parsed.rows)
    assert lines == Counter(range(1, len(rows) + 1))
    votes: dict[tuple[str, str], Counter[bool]] = {}
    for prompt, response, safe in rows:
        votes.setdefault((prompt, response), Counter())[safe] += 1
    left: dict[str, set[bool]] = {}
    for parsed in found:
        prompts, responses, _ = zip(*(rows[raw.line - 1] for raw in parsed.rows), strict=True)
        assert len(set(prompts)) == 1
        judged = {said: votes[prompts[0], said][True] - votes[prompts[0], said][False] for said in responses}
        assert len(parsed.rows) == sum(votes[prompts[0], said].total() for said in judged)
        if isinstance(parsed.outcome, Candidate):
            assert judged[parsed.outcome.chosen] > 0 > judged[parsed.outcome.rejected]
        else:
            ((_, majority),) = judged.items()
            assert isinstance(parsed.outcome, RowProblem)
            assert (parsed.outcome.rule == "contradictory_labels") == (majority == 0)
            if majority:
                left.setdefault(prompts[0], set()).add(majority > 0)
    assert all(len(labels) == 1 for labels in left.values())
