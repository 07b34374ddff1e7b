"""Whatever JSON a row holds, it becomes a pair or is refused with a rule; nothing else happens."""

import json
from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdpo.config import ColumnSettings
from bdpo.config.ingest import DataFormat
from bdpo.data.formats import DESCRIPTIONS, PARSERS
from bdpo.data.rows import Candidate, RawRow, RowProblem
from tests.data.parsed import read_source

SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400)
ANY = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
TEXT = st.sampled_from(["", "a", "b", "\ud800", "\n\nHuman: Q\n\nAssistant: a"])
SPOKEN = st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "system", "observation", "x"]), "value": TEXT})
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": TEXT})
NEAR = TEXT | SPOKEN | st.lists(SPOKEN | MESSAGE, max_size=3) | st.lists(st.lists(TEXT, max_size=2), max_size=2)
NAMES = (
    *("prompt", "chosen", "rejected", "category", "chosen_safe", "rejected_safe"),
    *("conversations", "system", "instruction", "input", "history", "score_chosen", "score_rejected"),
    *("response", "is_safe", "response_0", "response_1", "is_response_0_safe", "is_response_1_safe"),
    *("better_response_id", "safer_response_id"),
)
VALUE = NEAR | st.booleans() | st.integers(0, 2) | st.dictionaries(TEXT, st.booleans(), max_size=2) | ANY
ROW = st.dictionaries(st.sampled_from(NAMES), VALUE) | st.dictionaries(st.text(max_size=5), ANY)


def rows_of(values: list[dict[str, Any]]) -> list[RawRow]:
    return [RawRow("x", line, json.dumps(value).encode(), value) for line, value in enumerate(values, start=1)]


@pytest.mark.parametrize("format_name", get_args(DataFormat))
@settings(max_examples=60)
@given(values=st.lists(ROW, max_size=4))
def test_every_row_of_a_format_is_a_pair_or_refused(format_name: DataFormat, values: list[dict[str, Any]]) -> None:
    check(values, format_name=format_name)


@settings(max_examples=60)
@given(values=st.lists(ROW, max_size=4))
def test_every_row_under_a_map_is_a_pair_or_refused(values: list[dict[str, Any]]) -> None:
    columns = ColumnSettings(prompt="instruction", chosen="response_0", rejected="response_1")
    first: dict[str, Any] = {"instruction": "Q", "response_0": "a", "response_1": "b"}
    check([first, *values], columns=columns.model_dump())


def check(values: list[dict[str, Any]], **how: Any) -> None:
    found = read_source(rows_of(values), origin="x", **how)
    assert Counter(raw.line for parsed in found for raw in parsed.rows) == Counter(range(1, len(values) + 1))
    for parsed in found:
        assert isinstance(parsed.outcome, (Candidate, RowProblem))
        if isinstance(parsed.outcome, RowProblem):
            assert parsed.outcome.rule


def test_every_format_is_described_and_can_be_read() -> None:
    assert DESCRIPTIONS.keys() == set(get_args(DataFormat))
    assert PARSERS.keys() | {"beavertails"} == set(get_args(DataFormat))
