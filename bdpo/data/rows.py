"""What travels through ingestion: a raw row, a candidate pair, a refusal."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Self
from unicodedata import category

Message = dict[str, str]
"""`{"role": ..., "content": ...}`."""


class RowProblem(ValueError):  # noqa: N818 - not an error of the program
    """Why one row is refused.  The reason never repeats the row's text."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        """For rows that go to other processes: an exception alone is made anew of what its message was made of."""
        return type(self), (self.rule, self.reason)


class RawRow(NamedTuple):
    """One row as a file holds it."""

    file: str
    """The name of the file, or of the hub dataset."""
    line: int
    """Line, or row of a columnar file, counted from 1."""
    raw: bytes
    """The row as it came; JSON for CSV and Parquet."""
    value: dict[str, Any] | RowProblem
    """Its fields, or why it has none."""


_INVISIBLE = ("Zs", "Zl", "Zp", "Cc", "Cf")
"""Categories of Unicode: white space, and characters that only format, such as a zero-width space."""


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text: bytes that were not UTF-8 come as lone surrogates, as halves of escapes do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_blank(text: str) -> bool:
    """Whether a text has nothing that can be seen."""
    return all(category(character) in _INVISIBLE for character in text.strip())


def json_kind(value: Any) -> str:
    """What a value is called in JSON, for the reason of a refusal."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float() | Decimal():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
    return type(value).__name__


@dataclass
class Candidate:
    """A pair that has the right shape and is yet to be checked."""

    prompt: list[Message]
    chosen: str
    rejected: str
    category: str | None = None
    chosen_safe: bool | None = None
    rejected_safe: bool | None = None
    meta: dict[str, Any] = field(default_factory=dict)


class Parsed(NamedTuple):
    """What became of a row, or of the rows that a pair was made of."""

    rows: tuple[RawRow, ...]
    outcome: Candidate | RowProblem | None
    """None: the source's weight leaves the row out."""
