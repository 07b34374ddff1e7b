"""A source's rows: its columns, its limit, its weight."""

import json
from typing import Any

import pytest

from bdpo.config import ColumnSettings
from bdpo.data.rows import Candidate, Parsed, RawRow, RowProblem
from bdpo.errors import UserError
from tests.data.parsed import read_source


def rows(*values: dict[str, Any]) -> list[RawRow]:
    return [RawRow("x", line, json.dumps(value).encode(), value) for line, value in enumerate(values, start=1)]


def good(num: int) -> dict[str, Any]:
    return {"prompt": f"q{num}", "chosen": "a", "rejected": "b"}


def answers(num: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"q{num}", "response": "s", "is_safe": True, "category": {}},
        {"prompt": f"q{num}", "response": "u", "is_safe": False, "category": {}},
    ]


def kept(found: list[Parsed]) -> list[str]:
    return [parsed.outcome.prompt[0]["content"] for parsed in found if isinstance(parsed.outcome, Candidate)]


def test_a_weight_leaves_rows_out_and_a_row_keeps_its_fate_when_others_are_added() -> None:
    few, many = (
        read_source(rows(*map(good, order)), origin="x", weight=0.5, seed=3)
        for order in (range(100), reversed(range(150)))
    )
    assert len(few) == 100
    assert 30 < len(kept(few)) < 70
    assert len(kept(few)) + sum(parsed.outcome is None for parsed in few) == 100
    assert set(kept(few)) == {name for name in kept(many) if int(name[1:]) < 100}


def test_rows_that_are_paired_within_a_prompt_are_kept_by_prompt() -> None:
    values = [row for num in range(100) for row in answers(num)]
    found = read_source(rows(*values), origin="x", weight=0.5)
    assert 30 < len(kept(found)) < 70
    assert 2 * len(kept(found)) + sum(parsed.outcome is None for parsed in found) == 200  # none is unpaired


def test_a_limit_counts_rows_before_the_weight() -> None:
    assert len(read_source(rows(*map(good, range(300))), origin="x", limit=150, weight=0.5)) == 150


def test_columns_of_which_one_says_which_response_is_better_are_not_to_be_named() -> None:
    row = {"context": "Q", "response1": "a", "response2": "b", "overall_preference": -2}
    with pytest.raises(UserError, match="where another column says which it is, write `chosen` and `rejected` first"):
        read_source(rows(row), origin="x")


def test_a_map_to_a_column_that_no_row_has_is_named() -> None:
    columns = ColumnSettings(prompt="question", chosen="good", rejected="bad").model_dump()
    row = {"question": "Q", "good": "a", "worse": "b"}
    with pytest.raises(
        UserError,
        match=r"x: `columns\.rejected` is 'bad', which none of the first 1 rows has; their columns are `good`",
    ):
        read_source(rows(row), origin="x", columns=columns)
    assert kept(read_source(rows(row, row | {"bad": "b"}), origin="x", columns=columns)) == ["Q"]


def test_unknown_columns_are_named_with_what_can_be_read() -> None:
    with pytest.raises(UserError, match=r"the columns `a`, `b` are those of no known format.*sharegpt.*beavertails"):
        read_source(rows({"a": 1}, {"b": 2}), origin="x")


def test_responses_are_paired_wherever_they_lie() -> None:
    apart = [answers(num)[side] for side in (1, 0) for num in range(50)]
    found = read_source(rows(*apart, *answers(7), {"prompt": 1}), origin="x", format_name="beavertails")
    assert [[raw.line for raw in parsed.rows] for parsed in found if isinstance(parsed.outcome, Candidate)] == [
        [51 + num, 1 + num] if num != 7 else [58, 101, 8, 102] for num in range(50)
    ]
    refused = [(p.rows[0].line, p.outcome.rule) for p in found if isinstance(p.outcome, RowProblem)]
    assert refused == [(103, "wrong_type")]
    (pair, *_) = [parsed.outcome for parsed in found if isinstance(parsed.outcome, Candidate)]
    assert pair.meta == {"chosen": {"harms": []}, "rejected": {"harms": []}}


def test_a_row_of_another_format_is_told_which() -> None:
    hh = {"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"}
    found = read_source(rows(good(1), hh, {"chosen": "a"}, good(2) | {"prompt": 3}), origin="x")
    assert [p.outcome.rule for p in found if isinstance(p.outcome, RowProblem)] == [
        "other_format",
        "missing_field",
        "wrong_type",
    ]
    assert isinstance(found[1].outcome, RowProblem)
    assert found[1].outcome.reason == (
        "the row has the columns of `hh` and the source is read as `preference`; make its file a source of its own"
    )
    (unscored,) = read_source(rows(good(1)), origin="x", format_name="ultrafeedback")
    assert isinstance(unscored.outcome, RowProblem)
    assert (unscored.outcome.rule, unscored.outcome.reason) == ("missing_field", "`score_chosen` is missing")
    (named,) = read_source(rows(good(1)), origin="x", format_name="hh")
    assert isinstance(named.outcome, RowProblem)
    assert named.outcome.rule == "other_format"


def test_the_scores_of_ultrafeedback_count_wherever_its_rows_lie() -> None:
    def scored(prompt: str, chosen: int, rejected: int) -> dict[str, Any]:
        sides = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
        return {"prompt": prompt, **sides, "score_chosen": chosen, "score_rejected": rejected}

    values = rows(good(0), scored("better", 2, 1), scored("worse", 1, 2), scored("tied", 1, 1))
    found = read_source(values, origin="x")
    assert kept(found) == ["q0", "better"]
    assert [p.outcome.rule for p in found if isinstance(p.outcome, RowProblem)] == ["inverted_scores", "tied_scores"]
    named = read_source(values, origin="x", format_name="preference")
    assert kept(named) == ["q0", "better", "worse", "tied"]


def test_the_scores_of_ultrafeedback_count_without_a_prompt_of_its_own() -> None:
    def scored(prompt: str, chosen: int, rejected: int) -> dict[str, Any]:
        question = {"role": "user", "content": prompt}
        sides = {side: [question, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
        return {**sides, "score_chosen": chosen, "score_rejected": rejected}

    unscored = {name: side for name, side in scored("unscored", 1, 1).items() if not name.startswith("score")}
    values = [scored("better", 2, 1), scored("worse", 1, 2), scored("tied", 1, 1)]
    for first in ([], [good(0)], [unscored]):
        found = read_source(rows(*first, *values), origin="x")
        assert kept(found)[-1] == "better"
        refused = [p.outcome.rule for p in found if isinstance(p.outcome, RowProblem)]
        assert refused == ["inverted_scores", "tied_scores"]


def test_rows_of_pku_with_and_without_labels_are_told_apart() -> None:
    def compared(prompt: str, better: Any) -> dict[str, Any]:
        return {"prompt": prompt, "response_0": "zero", "response_1": "one", "better_response_id": better}

    labels = {"is_response_0_safe": True, "is_response_1_safe": False, "safer_response_id": 0}
    values = rows(compared("bare", 1), compared("labelled", 1) | labels, compared("broken", 7))
    found = read_source(values, origin="x")
    assert [p.outcome.chosen for p in found if isinstance(p.outcome, Candidate)] == ["one", "zero"]
    assert [p.outcome.rule for p in found if isinstance(p.outcome, RowProblem)] == ["wrong_type"]
    named = read_source(values, origin="x", format_name="pku_better")
    assert [p.outcome.chosen for p in named if isinstance(p.outcome, Candidate)] == ["one", "one"]
    (bare, *_) = read_source(values, origin="x", format_name="pku")
    assert isinstance(bare.outcome, RowProblem)
    assert bare.outcome.rule == "other_format"


def test_rows_without_fields_are_told_by_the_first() -> None:
    problem = RawRow("a.jsonl", 7, b"{", RowProblem("broken_json", "not valid JSON: unexpected end"))
    with pytest.raises(UserError) as error:
        read_source([problem], origin="x")
    assert str(error.value) == (
        "x: none of the first 1 rows is a JSON object with fields; a.jsonl:7: not valid JSON: unexpected end; expected "
        "is an object a line, or in a .json file a list of objects."
    )


def test_rows_of_csv_without_fields_are_told_of_their_header() -> None:
    problem = RawRow("a.csv", 2, b"[]", RowProblem("wrong_number_of_fields", "3 fields where the header has 1"))
    with pytest.raises(UserError) as error:
        read_source([problem], origin="x")
    assert str(error.value) == (
        "x: none of the first 1 rows is a row of CSV; a.csv:2: 3 fields where the header has 1; expected is a header "
        "that names the columns, and as many fields a row."
    )
