"""`bdpo query`."""

import csv
import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bdpo.cli.arguments import ArtifactsOption
from bdpo.errors import UserError
from bdpo.terminal import plain_console


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
        typer.echo("[" + ",\n ".join(json.dumps(r, ensure_ascii=False, allow_nan=False) for r in records) + "]")
    elif output is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        table = Table()
        for name in names:
            # Nothing of a value is cut off on a narrow terminal.
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        plain_console().print(table)


def _plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has no value for, such as a date or infinity, is text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
