"""Reading and writing rows of CSV and JSONL files that users bring."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bdpo.artifacts.store import write_atomically
from bdpo.errors import UserError, shown_columns

_LONGEST_CELL = 2**31 - 1
"""Characters; the csv module's own limit of 131,072 is less than a long completion may have."""


_SURROGATE = re.compile("[\ud800-\udfff]")


class TableRow(NamedTuple):
    """One row."""

    line: int
    """Where it ends in the file, counted from 1."""
    values: dict[str, Any]


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        UserError: it cannot be read or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8 text.") from None


def read_rows(path: Path) -> list[TableRow]:
    """The rows of a CSV file with a header, or of a JSONL file (every other suffix).

    Raises:
        UserError: the file cannot be read, or a row is none.
    """
    text = read_text(path)
    return list(_csv_rows(path, text) if path.suffix.lower() == ".csv" else _jsonl_rows(path, text))


def parse_json(text: str, path: Path, line: int | None = None) -> Any:
    """A JSON value that can be written again as UTF-8.

    Args:
        text: the JSON.
        path: where it stands, for errors.
        line: in which line, where each has its own value.

    Raises:
        UserError: it is no JSON, or holds what nothing can be made of.
    """
    place = str(path) if line is None else f"{path}, line {line}"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if line is None:
            raise UserError(f"{path}, line {error.lineno}: this is no JSON: {error.msg}.") from None
        raise UserError(f"{place}: this is no JSON: {error.msg}; one object a line is right.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{place}: a number is too long or lists lie too deep to be read.") from None
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise UserError(f"{place}: half of a character that takes two \\u escapes; remove or complete it.")
    return value


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV or JSONL, by the suffix: the whole file or nothing.

    Raises:
        UserError: the suffix is another, or the folder is not there.
    """
    check_writable(path)
    if path.suffix.lower() == ".jsonl":
        write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    buffer = io.StringIO(newline="")
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, names)  # "\r\n" ends rows: then a lone "\r" is quoted
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_atomically(path, buffer.getvalue())


def _cell(value: Any) -> str:
    """A value as text; what is no text as JSON, and nothing as nothing."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def check_writable(path: Path) -> None:
    """Make sure, before any work, that `write_rows` knows the format and finds the folder.

    Raises:
        UserError: it does not.
    """
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"{path}: the suffix {path.suffix!r} is no format that can be written; use .csv or .jsonl.")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Make sure, before any work, that a file can be put there.

    Raises:
        UserError: its folder is not there or cannot be written to, or it is a folder itself.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; give the name of a file.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{path}: permission is denied to write into the folder {path.parent.resolve()}.")


def _csv_rows(path: Path, text: str) -> Iterator[TableRow]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
        if twice is not None:
            shown = shown_columns([twice])
            raise UserError(f"{path}, line {reader.line_num}: two columns are called {shown}; rename one.")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {reader.line_num}: the row has not as many cells as the header.")
            yield TableRow(reader.line_num, row)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: this is no CSV: {error}.") from None


def _jsonl_rows(path: Path, text: str) -> Iterator[TableRow]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        row = parse_json(content, path, line)
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line}: found {type(row).__name__}, but a row is a JSON object.")
        yield TableRow(line, row)
