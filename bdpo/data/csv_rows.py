"""Rows of a CSV file."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from bdpo.data.blocks import dump_row
from bdpo.data.files import DataFile
from bdpo.data.rows import RawRow, RowProblem, is_unicode
from bdpo.errors import UserError, shown_columns


def csv_rows(data: DataFile, file: BinaryIO) -> Iterator[RawRow]:
    """Read rows in order; blank lines are none, also before the header.

    Fields are separated by commas, or by semicolons or tabs where these and no comma are in the header, as
    spreadsheets of many countries write them.

    Args:
        data: what the file is called.
        file: its content.

    Raises:
        UserError: it is no CSV, its header is not UTF-8, or two of its columns have one name.
    """
    csv.field_size_limit(2**31 - 1)
    # Bytes that are not UTF-8 become lone surrogates, which the row is then refused for.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    num_blank = 0
    while (first := text.readline()) and not first.strip():
        num_blank += 1
    delimiter = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
    taken: list[str] = []
    # Without `strict` a quotation mark that is not closed, or stands within a quoted text, makes other text of the row,
    # and of those after it, without a word.
    reader = csv.reader(_kept(chain([first], text), taken), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{data.path}:{num_blank + reader.line_num}: not valid CSV: {error}.") from error
    _require_text(data.path, header)
    require_different(data.path, header)
    while header:
        line = num_blank + reader.line_num + 1
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
            yield RawRow(data.name, line, dump_row(fields), _value(header, fields))


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


def _value(header: Sequence[str], fields: Sequence[str]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(header):
        lines = sum(field.count("\n") for field in fields)
        unclosed = f"; it goes on for {lines} more lines, as after a quotation mark that is not closed" if lines else ""
        reason = f"{len(fields)} fields where the header has {len(header)}{unclosed}"
        return RowProblem("wrong_number_of_fields", reason)
    return dict(zip(header, fields, strict=True))


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
