"""Files to blocks of raw rows."""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from bdpo.data.batches import BATCH_ROWS
from bdpo.data.blocks import (
    Block,
    as_object,
    collect,
    collect_columns,
    collect_lines,
    dump_row,
    json_reason,
)
from bdpo.data.csv_rows import csv_rows, require_different
from bdpo.data.files import COMPRESSED_KINDS, DataFile, kind_of
from bdpo.data.rows import RawRow, RowProblem
from bdpo.errors import UserError, first_line

_READ_CHARS = 2**20
_ARROW_FILE = b"ARROW1"
_NAMES = {".gz": "gzip", ".zst": "zstd", ".parquet": "Parquet", ".arrow": "Arrow"}
"""What a file that has no lines is called in an error."""
_OTHER_CONTENT = {
    b"\xff\xfe": "text in UTF-16; write it anew in UTF-8",
    b"\xfe\xff": "text in UTF-16; write it anew in UTF-8",
    b"\x1f\x8b\x08": "compressed by gzip; let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; let its name end in .zst",
    b"PAR1": "Parquet; let its name end in .parquet",
    b"PK\x03\x04": "a zip archive, as a workbook is one; write the rows as CSV or JSONL",
}
"""How files begin that are not the text which their names promise, and what to do about it."""
_CUT = 16
"""Longer than what a piece of JSON that is no string needs to be understood: `-Infinity`, `\\ud800\\udc00`."""
_WHITE = " \t\n\r"
"""White space as JSON knows it."""


def read_rows(file: DataFile) -> Iterator[RawRow]:
    """Read a file's rows in order; blank lines of a text file are no rows.

    Raises:
        UserError: as for `read_blocks`.
    """
    return chain.from_iterable(block.rows() for block in read_blocks(file))


def read_blocks(file: DataFile) -> Iterator[Block]:
    """Read a file in order; what is in memory at a time does not depend on its length.

    Raises:
        UserError: the file is of another kind, or broken as a whole.
    """
    path = file.path
    kind, compression = kind_of(path)
    try:
        if kind in COMPRESSED_KINDS:
            _check_text(path)
        match kind:
            case ".jsonl":
                yield from _read_json_lines(file)
            case ".json":
                yield from _read_json(file)
            case ".csv":
                yield from collect(_read_csv(file))
            case ".parquet":
                yield from collect_columns(path, file.name, _parquet_batches(path))
            case ".arrow":
                yield from collect_columns(path, file.name, _arrow_batches(path))
    except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault; what gzip and pyarrow say of the content has no number
        name = _NAMES[compression or kind]
        raise UserError(f"{path}: the {name} file is broken ({first_line(error)}); fetch or write it again.") from error


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


def _check_text(path: Path) -> None:
    with _open(path) as file:
        start = file.read(max(map(len, _OTHER_CONTENT)))
    for begins, what in _OTHER_CONTENT.items():
        if start.startswith(begins):
            raise UserError(f"{path}: the content is {what}.")


def _read_json_lines(data: DataFile) -> Iterator[Block]:
    with _open(data.path) as file:
        yield from collect_lines(data.name, file.read)


def _read_json(data: DataFile) -> Iterator[Block]:
    with _open(data.path) as file:
        start = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
    if not start.startswith(b"["):
        yield from _read_json_lines(data)
        return
    with _open(data.path) as file:
        # Bytes that are not UTF-8 become lone surrogates, which their row is then refused for.
        yield from collect(_read_list(data, io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape")))


def _read_list(data: DataFile, file: TextIO) -> Iterator[RawRow]:
    line = 0
    try:
        for line, (value, text) in enumerate(_items(file), start=1):
            yield RawRow(data.name, line, dump_row(value), _not_utf8(text) or as_object(value))
    except (ValueError, RecursionError) as error:
        wanted = "a list of objects is expected"
        if not isinstance(error, json.JSONDecodeError):
            wanted = "write the rows as JSON lines, where such a row alone is refused"
        raise UserError(f"{data.path}: after {line} elements {json_reason(error)}; {wanted}.") from error


def _not_utf8(text: str) -> RowProblem | None:
    """Why an element is none, where bytes of it were not text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return RowProblem("invalid_utf8", f"not UTF-8 at byte {len(text[: error.start].encode())}")
    return None


def _items(file: TextIO) -> Iterator[tuple[Any, str]]:
    """The elements of a JSON list and how they are written, each read when it is asked for.

    Raises:
        ValueError: the text is no JSON list.
    """
    decode = json.JSONDecoder().raw_decode
    before, _, text = file.read(_READ_CHARS).partition("[")
    if before.strip(_WHITE):
        raise json.JSONDecodeError("Something stands before the list", before, 0)
    at = 0
    is_first = True
    while True:
        at = _skip(text, at)
        try:
            closing = is_first and text[at : at + 1] == "]"
            value, end = (None, at) if closing else decode(text, at)
            end = _skip(text, end)
            if text[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        except json.JSONDecodeError as error:
            # Only a string that is not closed is reported far before where the text ends.
            is_cut = error.msg.startswith("Unterminated string") or len(text) - error.pos <= _CUT
            more = file.read(max(_READ_CHARS, len(text) - at)) if is_cut else ""
            if not more:
                raise
            text, at = text[at:] + more, 0
            continue
        if not closing:
            yield value, text[at:end]
        if text[end] == "]":
            break
        at, is_first = end + 1, False
    if text[end + 1 :].strip(_WHITE) or any(more.strip(_WHITE) for more in iter(lambda: file.read(_READ_CHARS), "")):
        raise json.JSONDecodeError("There is more after the list", text, end)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITE:
        at += 1
    return at


def _read_csv(data: DataFile) -> Iterator[RawRow]:
    with _open(data.path) as file:
        yield from csv_rows(data, file)


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        require_different(path, file.schema_arrow.names)
        num_rows = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            num_rows += batch.num_rows
            yield batch
        if num_rows != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"it says that it has {file.metadata.num_rows} rows, and {num_rows} can be read")


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Arrow IPC, as a file or, as `datasets` writes it, a stream."""
    with pa.OSFile(str(path)) as file:
        if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
            with pa.ipc.open_file(file) as reader:
                require_different(path, reader.schema.names)
                yield from map(_valid, (reader.get_batch(i) for i in range(reader.num_record_batches)))
        else:
            file.seek(0)
            with pa.ipc.open_stream(file) as reader:
                require_different(path, reader.schema.names)
                yield from map(_valid, reader)


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch that can be read without a crash: Arrow takes the offsets that a file holds on trust.

    Texts need not be UTF-8: rows are refused for that one by one.

    Raises:
        pa.ArrowInvalid: it cannot.
    """
    for column in batch.columns:
        _validate(column)
    return batch


def _validate(array: pa.Array) -> None:
    array.validate()  # the sizes of its buffers and of what lies in it
    kind = array.type
    if isinstance(kind, pa.JsonType):
        _validate(array.storage)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array.view(pa.binary() if pa.types.is_string(kind) else pa.large_binary()).validate(full=True)
    elif pa.types.is_list(kind):
        pa.ListArray.from_arrays(array.offsets, pa.nulls(len(array.values))).validate(full=True)
        _validate(array.values)
    elif pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            _validate(array.field(i))
    else:
        array.validate(full=True)
