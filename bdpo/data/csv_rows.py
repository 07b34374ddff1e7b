"""Rows of a CSV file."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from bdpo.data.blocks import dump_row
from bdpo.data.files import DataFile
from bdpo.data.rows import RawRow, RowProblem, is_unicode
from bdpo.errors import UserError, shown_columns

CSV_RULES = ("broken_csv", "wrong_number_of_fields")
"""Rules that only rows of CSV break."""
_DELIMITERS = ",;\t"
"""As spreadsheets of one country or another write them; of equally good ones the first."""
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
"""The line by which a spreadsheet says what separates fields."""


def csv_rows(data: DataFile, file: BinaryIO) -> Iterator[RawRow]:
    """Read rows in order; blank lines are none, also before the header.

    Fields are separated by commas, semicolons or tabs: by what the file says in a line of its own before the header
    (`sep=;`), or else by those that make the most names of it.  Columns at its end without a name are none.

    Args:
        data: what the file is called.
        file: its content.

    Raises:
        UserError: it is no CSV, its header is not UTF-8, or two of its columns have one name.
    """
    csv.field_size_limit(2**31 - 1)
    # Bytes that are not UTF-8 become lone surrogates, which the row is then refused for.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    num_before = 0
    named = None
    while first := text.readline():
        if said := _SEPARATOR_LINE.fullmatch(first):
            named = said[1]
        elif first.strip():
            break
        num_before += 1
    delimiter = named or max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    taken: list[str] = []
    # Without `strict` a quotation mark that is not closed, or stands within a quoted text, makes other text of the row,
    # and of those after it, without a word.
    reader = csv.reader(_kept(chain([first], text), taken), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{data.path}:{num_before + reader.line_num}: not valid CSV: {error}.") from error
    _require_text(data.path, header)
    names = _without_trailing(header)
    require_different(data.path, names)
    while header:
        line = num_before + reader.line_num + 1
        taken.clear()
        try:
            fields = next(reader, None)
        except csv.Error:
            raw = "".join(taken).rstrip("\r\n").encode("utf-8", errors="surrogateescape")
            yield RawRow(data.name, line, raw, _broken(len(taken) - 1))
            continue
        if fields is None:
            return
        if fields:
            yield RawRow(data.name, line, dump_row(fields), _value(names, fields, len(header) - len(names)))


def _kept(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    """The lines, each added to those taken."""
    for line in lines:
        taken.append(line)
        yield line


def _broken(num_more: int) -> RowProblem:
    goes_on = f"; the row goes on for {num_more} more lines" if num_more else ""
    return RowProblem(
        "broken_csv",
        "a quotation mark is not closed, stands in a quoted text without being doubled, or has more than the separator "
        f"after it{goes_on}",
    )


def _value(names: Sequence[str], fields: Sequence[str], nameless: int) -> dict[str, Any] | RowProblem:
    """A row's fields by their names, where it has as many, and as many empty ones as there are nameless columns."""
    if len(fields) != len(names) + nameless:
        lines = sum(field.count("\n") for field in fields)
        unclosed = f"; it goes on for {lines} more lines, as after a quotation mark that is not closed" if lines else ""
        reason = f"{len(fields)} fields where the header has {len(names) + nameless}{unclosed}"
        return RowProblem("wrong_number_of_fields", reason)
    if any(field.strip() for field in fields[len(names) :]):
        return RowProblem("wrong_number_of_fields", "a field that the header has no name for is not empty")
    return dict(zip(names, fields[: len(names)], strict=True))


def _without_trailing(header: Sequence[str]) -> list[str]:
    """The names of a header without empty ones at its end, unless all are."""
    return list(header[: max((i for i, name in enumerate(header, start=1) if name), default=len(header))])


def _require_text(path: Path, names: Sequence[str]) -> None:
    """Refuse a header in another encoding: no column that the settings name would be found in it.

    Raises:
        UserError: it is.
    """
    if not is_unicode("".join(names)):
        raise UserError(f"{path}: the names of the columns are not UTF-8; write the file anew in UTF-8.")


def require_different(path: Path, names: Sequence[str]) -> None:
    """Refuse a table of which one column would hide another.

    Raises:
        UserError: two columns have the same name.
    """
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UserError(f"{path}: two columns are called {shown_columns([twice])}; rename or remove one.")
