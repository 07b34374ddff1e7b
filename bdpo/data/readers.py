"""Files to raw rows, one at a time."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.data.files import DataFile, kind_of
from bdpo.data.rows import RawRow, RowProblem
from bdpo.errors import UserError

_BATCH_ROWS = 1024
_ARROW_FILE = b"ARROW1"
_NAMES = {".gz": "gzip", ".zst": "zstd", ".parquet": "Parquet", ".arrow": "Arrow"}
"""What a file that has no lines is called in an error."""


def read_rows(file: DataFile) -> Iterator[RawRow]:
    """Read a file's rows in order; blank lines of a text file are no rows.

    Raises:
        UserError: the file is of another kind, or broken as a whole.
    """
    path = file.path
    kind, compression = kind_of(path)
    try:
        match kind:
            case ".jsonl":
                yield from _read_json_lines(file)
            case ".json":
                yield from _read_json(file)
            case ".csv":
                yield from _read_csv(file)
            case ".parquet":
                yield from _read_parquet(file)
            case ".arrow":
                yield from _read_arrow(file)
    except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault; what gzip and pyarrow say of the content has no number
        reason = str(error).splitlines()[0]
        name = _NAMES[compression or kind]
        raise UserError(f"{path}: the {name} file is broken ({reason}); fetch or write it again.") from error


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    match kind_of(path)[1]:
        case ".gz":
            with gzip.open(path) as file:
                yield file  # type: ignore[misc]  # typeshed: GzipFile is no BinaryIO, though it reads like one
        case ".zst":
            with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
                yield io.BufferedReader(stream)
        case _:
            with path.open("rb") as file:
                yield file


def _read_json_lines(data: DataFile) -> Iterator[RawRow]:
    with _open(data.path) as file:
        for line, raw in enumerate(file, start=1):
            stripped = raw.rstrip(b"\r\n")
            if stripped.strip():
                yield RawRow(data.name, line, stripped, _parse(stripped))


def _read_json(data: DataFile) -> Iterator[RawRow]:
    with _open(data.path) as file:
        start = file.read(64).lstrip()
    if not start.startswith(b"["):
        yield from _read_json_lines(data)
        return
    with _open(data.path) as file:
        try:
            rows = json.load(io.TextIOWrapper(file, encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{data.path}: not valid JSON: {error}; a list of objects is expected.") from error
    for line, row in enumerate(rows, start=1):
        yield RawRow(data.name, line, dump_row(row), _as_object(row))


def _read_csv(data: DataFile) -> Iterator[RawRow]:
    csv.field_size_limit(2**31 - 1)
    with _open(data.path) as file:
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
                    yield RawRow(data.name, line, dump_row(fields), _csv_value(header, fields))
        except csv.Error as error:
            raise UserError(f"{data.path}:{reader.line_num}: not valid CSV: {error}.") from error


def _csv_value(header: list[str], fields: list[str]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(header):
        return RowProblem("wrong_number_of_fields", f"{len(fields)} fields where the header has {len(header)}")
    return dict(zip(header, fields, strict=True))


def _read_parquet(data: DataFile) -> Iterator[RawRow]:
    with pq.ParquetFile(data.path) as file:
        yield from _batches(data.name, file.iter_batches(batch_size=_BATCH_ROWS))


def _read_arrow(data: DataFile) -> Iterator[RawRow]:
    """Arrow IPC, as a file or, as `datasets` writes it, a stream."""
    with pa.OSFile(str(data.path)) as file:
        if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
            with pa.ipc.open_file(file) as reader:
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                yield from _batches(data.name, batches)
        else:
            file.seek(0)
            with pa.ipc.open_stream(file) as reader:
                yield from _batches(data.name, reader)


def _batches(name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[RawRow]:
    line = 0
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError:
            rows = [_row(batch.slice(i, 1)) for i in range(batch.num_rows)]
        for row in rows:
            line += 1
            if isinstance(row, UnicodeDecodeError):
                problem = RowProblem("invalid_utf8", f"a text of the row is not UTF-8 at byte {row.start}")
                yield RawRow(name, line, row.object, problem)
            else:
                yield RawRow(name, line, dump_row(row), _as_object(row))


def _row(batch: pa.RecordBatch) -> Any:
    """The one row of a batch, or why it is none."""
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return error


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


def dump_row(value: Any) -> bytes:
    """A row that came as values, as the JSON that quarantine keeps."""
    try:
        # Bytes of a CSV file that are no text come back as they were.
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode("ascii")  # half a surrogate pair stays an escape
