"""One configured source to candidates and refusals, in the order of its rows."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from bdpo.data.formats import DESCRIPTIONS, PARSERS, Format, check_roles, detect_format
from bdpo.data.readers import read_rows
from bdpo.data.rows import Candidate, RawRow, RowProblem
from bdpo.errors import UserError

_LOOKED_AT = 100


class ParsedRow(NamedTuple):
    """A raw row and what became of it."""

    raw: RawRow
    outcome: Candidate | RowProblem


def read_source(path: Path, *, format_name: Format | None, limit: int | None) -> Iterator[ParsedRow]:
    """Read a file's rows and bring each into shape, or say why it has none.

    Args:
        path: the file.
        format_name: its shape; None to find it by the columns of its first rows.
        limit: rows to read, all by default.

    Raises:
        UserError: the file cannot be read, or its columns are those of no known shape.
    """
    rows = islice(read_rows(path), limit)
    first: deque[RawRow] = deque()
    if format_name is None:
        for row in rows:
            first.append(row)
            format_name = detect_format(row.value) if isinstance(row.value, dict) else None
            if format_name is not None or len(first) == _LOOKED_AT:
                break
        if format_name is None and first:
            raise UserError(_unknown_columns(path, first))
    while first:
        yield _parse(first.popleft(), format_name)
    for row in rows:
        yield _parse(row, format_name)


def _parse(row: RawRow, format_name: Format | None) -> ParsedRow:
    assert format_name is not None, "rows were read before their format was known"
    if isinstance(row.value, RowProblem):
        return ParsedRow(row, row.value)
    try:
        candidate = PARSERS[format_name](row.value)
        check_roles(candidate.prompt)
        _check_text(candidate)
    except RowProblem as problem:
        return ParsedRow(row, problem)
    return ParsedRow(row, candidate)


def _check_text(candidate: Candidate) -> None:
    """Refuse text that no UTF-8 file can hold, before anything encodes it."""
    texts = (candidate.chosen, candidate.rejected, candidate.category or "", *(m["content"] for m in candidate.prompt))
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise RowProblem("invalid_utf8", "the text holds bytes or escapes that are not Unicode") from None


def _unknown_columns(path: Path, rows: deque[RawRow]) -> str:
    columns = next((sorted(map(str, row.value)) for row in rows if isinstance(row.value, dict)), None)
    known = "; ".join(f"{name}: {description}" for name, description in DESCRIPTIONS.items())
    if columns is None:
        return f"{path}: none of the first {len(rows)} rows is a JSON object; what can be read is {known}."
    shown = ", ".join(f"`{column[:40]}`" for column in columns[:12])
    return f"{path}: the columns {shown} are those of no known format; what can be read is {known}."
