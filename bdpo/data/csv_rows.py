"""Rows of a CSV file."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from bdpo.data.blocks import dump_row
from bdpo.data.files import DataFile
from bdpo.data.rows import RawRow, RowProblem
from bdpo.errors import UserError


def csv_rows(data: DataFile, file: BinaryIO) -> Iterator[RawRow]:
    """Read rows in order; blank lines are none.

    Fields are separated by commas, or by semicolons or tabs where these and no comma are in the header, as
    spreadsheets of many countries write them.

    Args:
        data: what the file is called.
        file: its content.

    Raises:
        UserError: it is no CSV, or two of its columns have one name.
    """
    csv.field_size_limit(2**31 - 1)
    # Bytes that are not UTF-8 become lone surrogates, which the row is then refused for.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    first = text.readline()
    delimiter = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
    reader = csv.reader(chain([first], text), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        require_different(data.path, header)
        while header:
            line = reader.line_num + 1
            fields = next(reader, None)
            if fields is None:
                return
            if fields:
                yield RawRow(data.name, line, dump_row(fields), _value(header, fields))
    except csv.Error as error:
        raise UserError(f"{data.path}:{reader.line_num}: not valid CSV: {error}.") from error


def _value(header: Sequence[str], fields: Sequence[str]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(header):
        lines = sum(field.count("\n") for field in fields)
        unclosed = f"; it goes on for {lines} more lines, as after a quotation mark that is not closed" if lines else ""
        reason = f"{len(fields)} fields where the header has {len(header)}{unclosed}"
        return RowProblem("wrong_number_of_fields", reason)
    return dict(zip(header, fields, strict=True))


def require_different(path: Path, names: Sequence[str]) -> None:
    """Refuse a table of which one column would hide another.

    Raises:
        UserError: two columns have the same name.
    """
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UserError(f"{path}: two columns are called {twice[:40]!r}; rename or remove one.")
