"""A map from a preference row's fields to columns of other names."""

import pytest

from bdpo.config import ColumnSettings
from bdpo.data.formats.mapped import parse_mapped
from bdpo.data.rows import Candidate, RowProblem

MAP = ColumnSettings(prompt="question", chosen="good", rejected="bad", rejected_safe="ok").model_dump()
Q = [{"role": "user", "content": "Q"}]


def test_fields_come_from_the_columns_that_the_map_names() -> None:
    row = {"question": "Q", "good": "a", "bad": "b", "ok": False, "category": "x", "n": 3}
    assert parse_mapped(row, MAP) == Candidate(Q, "a", "b", "x", None, False, {"n": 3})


def test_a_column_that_only_bears_a_fields_name_is_meta() -> None:
    row = {"question": "Q", "good": "a", "bad": "b", "prompt": "not this", "rejected_safe": True}
    assert parse_mapped(row, MAP) == Candidate(Q, "a", "b", meta={"prompt": "not this", "rejected_safe": True})


def test_a_category_that_is_no_text_is_refused_where_its_column_was_named() -> None:
    row = {"question": "Q", "good": "a", "bad": "b", "category": 3}
    assert parse_mapped(row, MAP) == Candidate(Q, "a", "b", meta={"category": 3})
    with pytest.raises(RowProblem, match="`kind` is a number, not a string") as problem:
        parse_mapped(row | {"kind": 3}, MAP | {"category": "kind"})
    assert problem.value.rule == "wrong_type"
