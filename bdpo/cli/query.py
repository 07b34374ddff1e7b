"""`bdpo query`."""

import csv
import json
import math
import sys
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bdpo.cli.arguments import ArtifactsOption
from bdpo.errors import UserError
from bdpo.terminal import NARROWEST, natural_width, plain_console, text_table, visible


class Format(StrEnum):
    """How `bdpo query` prints."""

    table = "table"
    csv = "csv"
    json = "json"


def query(
    sql: Annotated[str, typer.Argument(help="SQL over the views of the catalogue.")],
    output: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
    artifacts: ArtifactsOption = Path("artifacts"),
) -> None:
    """Run SQL on the catalogue."""
    from bdpo.artifacts.catalogue import query_catalogue

    names, rows = query_catalogue(artifacts, sql)
    if output is Format.json:
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise UserError(f"query: two columns are named {twice[0]}; for JSON give one another name with `as`.")
        records = (_plain(dict(zip(names, row, strict=True))) for row in rows)
        _Output().write("[" + ",\n ".join(json.dumps(r, ensure_ascii=False, allow_nan=False) for r in records) + "]\n")
    elif output is Format.csv:
        writer = csv.writer(_Lines())  # "\r\n" ends rows: then a lone "\r" is quoted
        writer.writerow(names)
        writer.writerows([_text(value) for value in row] for row in rows)
    else:
        _print_rows(plain_console(), names, [[_text(value) for value in row] for row in rows])


class _Output:
    """Standard output: to a program texts as they are, but a terminal would obey what a completion may hold."""

    def write(self, text: str) -> None:
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)


class _Lines(_Output):
    """The same for rows of CSV, which end as lines do here."""

    def write(self, text: str) -> None:
        super().write(text.removesuffix("\r\n") + "\n")


def _print_rows(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One table; or a table a row, where its columns would stand on their heads in this terminal."""
    table = text_table(names, rows)
    if natural_width(console, table) <= console.width or NARROWEST * len(names) <= console.width or not rows:
        console.print(table)
        return
    for i, row in enumerate(rows, 1):
        console.print(text_table(("column", f"row {i}"), list(zip(names, row, strict=True))))


def _text(value: Any) -> str:
    """A value in one cell: nothing as nothing, lists and structs as JSON."""
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    return _decoded(value) if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has no value for, such as a date or infinity, is text."""
    if isinstance(value, dict):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, Decimal):
        return json.loads(str(value))
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _decoded(value: bytes) -> str:
    """A BLOB, such as a refused row as it stood in its file: text with escapes for what is none."""
    return value.decode("utf-8", "backslashreplace")
