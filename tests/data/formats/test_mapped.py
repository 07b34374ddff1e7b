"""A map from a preference row's fields to columns of other names."""

from bdpo.config import ColumnSettings
from bdpo.data.formats.mapped import parse_mapped
from bdpo.data.rows import Candidate

MAP = ColumnSettings(prompt="question", chosen="good", rejected="bad", rejected_safe="ok").model_dump()
Q = [{"role": "user", "content": "Q"}]


def test_fields_come_from_the_columns_that_the_map_names() -> None:
    row = {"question": "Q", "good": "a", "bad": "b", "ok": False, "category": "x", "n": 3}
    assert parse_mapped(row, MAP) == Candidate(Q, "a", "b", "x", None, False, {"n": 3})


def test_a_column_that_only_bears_a_fields_name_is_meta() -> None:
    row = {"question": "Q", "good": "a", "bad": "b", "prompt": "not this", "rejected_safe": True}
    assert parse_mapped(row, MAP) == Candidate(Q, "a", "b", meta={"prompt": "not this", "rejected_safe": True})
