"""Alpaca rows, each worked by hand from LLaMA-Factory's description."""

from typing import Any

import pytest

from bdpo.data.formats.alpaca import parse_alpaca
from bdpo.data.rows import Candidate, RowProblem

ROW: dict[str, Any] = {"instruction": "Translate.", "input": "Bonjour", "chosen": "Hello", "rejected": "No"}


def test_instruction_and_input_are_lines_of_the_prompt() -> None:
    assert parse_alpaca(ROW) == Candidate([{"role": "user", "content": "Translate.\nBonjour"}], "Hello", "No")


@pytest.mark.parametrize("nothing", [{"input": ""}, {"input": None}])
def test_without_an_input_the_instruction_stands_alone(nothing: dict[str, Any]) -> None:
    assert parse_alpaca(ROW | nothing).prompt == [{"role": "user", "content": "Translate."}]


@pytest.mark.parametrize("nothing", [{"instruction": ""}, {"instruction": None}])
def test_an_input_alone_is_the_prompt(nothing: dict[str, Any]) -> None:
    assert parse_alpaca(ROW | nothing).prompt == [{"role": "user", "content": "Bonjour"}]


def test_history_and_system_come_before_the_instruction() -> None:
    assert parse_alpaca(ROW | {"history": [["Hi", "Yes?"]], "system": "Be kind."}).prompt == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Translate.\nBonjour"},
    ]


def test_labels_are_kept_and_the_rest_is_meta() -> None:
    pair = parse_alpaca(ROW | {"category": "x", "chosen_safe": True, "id": 7})
    assert (pair.category, pair.chosen_safe, pair.rejected_safe, pair.meta) == ("x", True, None, {"id": 7})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"instruction": None, "input": None}, "missing_field"),
        ({"instruction": 3}, "wrong_type"),
        ({"input": ["x"]}, "wrong_type"),
        ({"rejected": None}, "missing_field"),
        ({"chosen": {"from": "gpt", "value": "x"}}, "wrong_type"),
        ({"history": "Hi"}, "wrong_type"),
        ({"history": [["Hi"]]}, "wrong_type"),
        ({"history": [["Hi", 3]]}, "wrong_type"),
    ],
)
def test_alpaca_that_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(RowProblem) as problem:
        parse_alpaca(ROW | changes)
    assert problem.value.rule == rule
