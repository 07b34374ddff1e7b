"""ShareGPT rows, each worked by hand from LLaMA-Factory's description."""

from typing import Any

import pytest

from bdpo.data.formats.sharegpt import parse_sharegpt
from bdpo.data.rows import Candidate, RowProblem


def turn(speaker: str, value: Any) -> dict[str, Any]:
    return {"from": speaker, "value": value}


ROW: dict[str, Any] = {
    "conversations": [turn("human", "Hi"), turn("gpt", "Yes?"), turn("human", "Q")],
    "chosen": turn("gpt", "good"),
    "rejected": turn("gpt", "bad"),
}
PROMPT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Q"},
]
SYSTEM = {"role": "system", "content": "Be kind."}


def test_a_conversation_and_two_ways_to_go_on() -> None:
    assert parse_sharegpt(ROW) == Candidate(PROMPT, "good", "bad")


def test_labels_are_kept_and_the_rest_is_meta() -> None:
    row = ROW | {"category": "x", "rejected_safe": False, "id": 7}
    assert parse_sharegpt(row) == Candidate(PROMPT, "good", "bad", "x", None, False, {"id": 7})


def test_the_system_turn_is_a_field_or_the_first_message() -> None:
    first = turn("system", "Be kind.")
    assert parse_sharegpt(ROW | {"system": "Be kind."}).prompt == [SYSTEM, *PROMPT]
    inside = ROW | {"conversations": [first, *ROW["conversations"]]}
    assert parse_sharegpt(inside).prompt == [SYSTEM, *PROMPT]
    assert parse_sharegpt(inside | {"system": "another"}).prompt == [SYSTEM, *PROMPT]
    assert parse_sharegpt(ROW | {"system": ""}).prompt == PROMPT


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"conversations": None}, "missing_field"),
        ({"conversations": []}, "wrong_type"),
        ({"conversations": [turn("human", 3)]}, "wrong_type"),
        ({"conversations": [turn("observation", "{}")]}, "tool_turn"),
        ({"conversations": [turn("bing", "Q")]}, "unknown_role"),
        ({"chosen": "good"}, "wrong_type"),
        ({"chosen": turn("human", "good")}, "does_not_end_with_assistant"),
        ({"rejected": turn("function_call", "{}")}, "tool_turn"),
        ({"system": 3}, "wrong_type"),
    ],
)
def test_sharegpt_that_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(RowProblem) as problem:
        parse_sharegpt(ROW | changes)
    assert problem.value.rule == rule
