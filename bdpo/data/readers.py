"""Files to raw rows, one at a time."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.data.rows import RawRow, RowProblem
from bdpo.errors import UserError

_BATCH_ROWS = 1024
_READABLE = ".jsonl, .jsonl.gz, .json, .json.gz, .csv, .csv.gz or .parquet"


def read_rows(path: Path) -> Iterator[RawRow]:
    """Read a file's rows in order; blank lines of a text file are no rows.

    Raises:
        UserError: the file is missing, of another kind, or broken as a whole.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such data file.")
    if path.is_dir():
        raise UserError(f"{path}: a folder, where a data file is expected ({_READABLE}).")
    kind = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    try:
        if kind in (".jsonl", ".jsonl.gz"):
            yield from _read_json_lines(path)
        elif kind in (".json", ".json.gz"):
            yield from _read_json(path)
        elif kind in (".csv", ".csv.gz"):
            yield from _read_csv(path)
        elif kind == ".parquet":
            yield from _read_parquet(path)
        else:
            raise UserError(f"{path}: unknown kind of file {path.suffix!r}; it can be {_READABLE}.")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is broken ({error}); fetch or write it again.") from error
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: the Parquet file is broken ({reason}); fetch or write it again.") from error


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            yield file  # type: ignore[misc]  # typeshed: GzipFile is no BinaryIO, though it reads like one
    else:
        with path.open("rb") as file:
            yield file


def _read_json_lines(path: Path) -> Iterator[RawRow]:
    with _open(path) as file:
        for line, raw in enumerate(file, start=1):
            stripped = raw.rstrip(b"\r\n")
            if stripped.strip():
                yield RawRow(path.name, line, stripped, _parse(stripped))


def _read_json(path: Path) -> Iterator[RawRow]:
    with _open(path) as file:
        start = file.read(64).lstrip()
    if not start.startswith(b"["):
        yield from _read_json_lines(path)
        return
    with _open(path) as file:
        try:
            rows = json.load(io.TextIOWrapper(file, encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not valid JSON: {error}; a list of objects is expected.") from error
    for line, row in enumerate(rows, start=1):
        yield RawRow(path.name, line, _dump(row), _as_object(row))


def _read_csv(path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(2**31 - 1)
    with _open(path) as file:
        # Bytes that are not UTF-8 become lone surrogates, which the row is then refused for.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text)
        try:
            header = next(reader, None)
            if header is None:
                return
            while True:
                line = reader.line_num + 1
                fields = next(reader, None)
                if fields is None:
                    return
                if fields:
                    yield RawRow(path.name, line, _dump(fields), _csv_value(header, fields))
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: not valid CSV: {error}.") from error


def _csv_value(header: list[str], fields: list[str]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(header):
        return RowProblem("wrong_number_of_fields", f"{len(fields)} fields where the header has {len(header)}")
    return dict(zip(header, fields, strict=True))


def _read_parquet(path: Path) -> Iterator[RawRow]:
    with pq.ParquetFile(path) as file:
        line = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            for row in batch.to_pylist():
                line += 1
                yield RawRow(path.name, line, _dump(row), _as_object(row))


def _parse(raw: bytes) -> dict[str, Any] | RowProblem:
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return RowProblem("invalid_utf8", f"not UTF-8 at byte {error.start}")
    except RecursionError:
        return RowProblem("broken_json", "nested too deeply")
    except ValueError as error:
        return RowProblem("broken_json", f"not valid JSON: {str(error).partition(': line')[0]}")
    return _as_object(value)


def _as_object(value: Any) -> dict[str, Any] | RowProblem:
    if isinstance(value, dict):
        return value
    return RowProblem("not_an_object", f"a row is a JSON object, not {type(value).__name__}")


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", errors="surrogateescape")
