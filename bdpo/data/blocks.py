"""Rows by the thousand, as their file holds them: what one worker parses at a time."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, Self

import orjson
import pyarrow as pa

from bdpo.data.batches import pieces
from bdpo.data.json_columns import Reader, json_readers
from bdpo.data.rows import RawRow, RowProblem, json_kind
from bdpo.errors import UserError, first_line

BLOCK_ROWS = 8192
BLOCK_BYTES = 16 * 2**20
"""Limits of a block, of which it reaches one; lines are counted by their bytes alone."""
_MOST_BYTES = 2**30
"""A longer row is refused unread: an array holds texts of 2 GiB together, and a block's rows are one."""
_KEPT_BYTES = 2**20
"""What quarantine keeps of it."""


class Block(Protocol):
    """Some rows in a row of one file."""

    def __len__(self) -> int:
        """Its rows."""

    def first(self, num: int) -> Self:
        """The block of its first rows."""

    def rows(self) -> Iterator[RawRow]:
        """The rows, parsed."""


@dataclass(frozen=True)
class LineBlock:
    """Lines of a JSONL file; blank ones are no rows."""

    file: str
    start: int
    """Number of the first line, counted from 1."""
    data: bytes

    def __len__(self) -> int:
        return sum(bool(line.strip()) for line in self.data.split(b"\n"))

    def first(self, num: int) -> Self:
        """The block of its first rows."""
        lines = self.data.split(b"\n")
        full = [i for i, line in enumerate(lines) if line.strip()]
        return self if num >= len(full) else replace(self, data=b"\n".join(lines[: full[num]]))

    def rows(self) -> Iterator[RawRow]:
        """The rows, parsed."""
        for line, raw in enumerate(self.data.split(b"\n"), start=self.start):
            stripped = raw.rstrip(b"\r")
            if len(stripped) > _MOST_BYTES:
                yield _over_long(RawRow(self.file, line, stripped, {}))
            elif stripped.strip():
                yield RawRow(self.file, line, stripped, parse_line(stripped))


@dataclass(frozen=True)
class RowBlock:
    """Rows that could only be read one after the other."""

    parsed: list[RawRow]

    def __len__(self) -> int:
        return len(self.parsed)

    def first(self, num: int) -> Self:
        """The block of its first rows."""
        return replace(self, parsed=self.parsed[:num])

    def rows(self) -> Iterator[RawRow]:
        """The rows, parsed."""
        return iter(self.parsed)


@dataclass(frozen=True)
class ColumnBlock:
    """Rows of a columnar file."""

    path: Path
    file: str
    start: int
    """Number of the first row, counted from 1."""
    batches: list[pa.RecordBatch]

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self.batches)

    def first(self, num: int) -> Self:
        """The block of its first rows."""
        kept: list[pa.RecordBatch] = []
        for batch in self.batches:
            if kept and num <= 0:
                break  # an empty slice of lists would take all their texts along to another process
            kept.append(batch.slice(0, num))
            num -= kept[-1].num_rows
        return replace(self, batches=kept)

    def __reduce__(self) -> "tuple[Callable[..., ColumnBlock], tuple[Path, str, int, bytes]]":
        """As an Arrow stream, which holds these rows alone: a slice would take all that it was cut from along."""
        with pa.BufferOutputStream() as sink:
            with pa.ipc.new_stream(sink, self.batches[0].schema) as writer:
                for batch in self.batches:
                    writer.write_batch(batch)
            return _read_block, (self.path, self.file, self.start, sink.getvalue().to_pybytes())

    def rows(self) -> Iterator[RawRow]:
        """The rows, parsed."""
        line = self.start - 1
        for batch in self.batches:
            try:
                readers = json_readers(batch.schema)
            except UnicodeDecodeError as error:
                raise self._broken(error) from error
            for row in self._values(batch):
                line += 1
                if isinstance(row, UnicodeDecodeError):
                    problem = RowProblem("invalid_utf8", f"a text of the row is not UTF-8 at byte {row.start}")
                    yield RawRow(self.file, line, row.object, problem)
                else:
                    yield _over_long(RawRow(self.file, line, *_read_json(row, readers)))

    def _broken(self, error: Exception) -> UserError:
        return UserError(f"{self.path}: the file is broken ({error}); fetch or write it again.")

    def _values(self, batch: pa.RecordBatch) -> list[Any]:
        """The rows of a batch; for one that is no UTF-8, the error that says so."""
        try:
            return list(batch.to_pylist())
        except UnicodeDecodeError as error:
            if batch.num_rows == 1:
                return [error]
            return [value for i in range(batch.num_rows) for value in self._values(batch.slice(i, 1))]
        except pa.ArrowException as error:
            raise self._broken(error) from error
        except (OverflowError, ValueError, LookupError) as error:
            # What Arrow holds and Python does not: a day after the year 9999, a time zone that is not known here.
            name = next(name for name in batch.schema.names if not _is_readable(batch[name]))
            kind = batch.schema.field(name).type
            raise UserError(
                f"{self.path}: the column `{name}`, of {kind}, holds what cannot be read ({first_line(error)}); remove "
                "it or write it as text."
            ) from error


def _read_json(row: dict[str, Any], readers: Mapping[str, Reader]) -> tuple[bytes, dict[str, Any] | RowProblem]:
    """A row as JSON, and its fields: those that hold JSON as values."""
    try:
        values = row | {name: read(row[name]) for name, read in readers.items()}
        return dump_row(values), values
    except (ValueError, RecursionError) as error:
        return dump_row(row), RowProblem("broken_json", f"in a column of JSON: {json_reason(error)}")


def _read_block(path: Path, file: str, start: int, stream: bytes) -> ColumnBlock:
    """What `ColumnBlock.__reduce__` made a stream of."""
    with pa.ipc.open_stream(stream) as reader:
        return ColumnBlock(path, file, start, list(reader))


def collect(rows: Iterable[RawRow]) -> Iterator[RowBlock]:
    """Rows to blocks of them."""
    block: list[RawRow] = []
    size = 0
    for row in map(_over_long, rows):
        block.append(row)
        size += len(row.raw)
        if len(block) == BLOCK_ROWS or size >= BLOCK_BYTES:
            yield RowBlock(block)
            block, size = [], 0
    if block:
        yield RowBlock(block)


def _over_long(row: RawRow) -> RawRow:
    """A row as it is, or its beginning and why it is refused."""
    return row if len(row.raw) <= _MOST_BYTES else _cut(row, len(row.raw))


def _cut(row: RawRow, size: int) -> RawRow:
    """The beginning of a row of so many bytes, and why it is refused."""
    problem = RowProblem("over_long", f"a row may have {_MOST_BYTES} bytes")
    if isinstance(row.value, RowProblem):  # such as a quotation mark that is not closed
        problem = row.value
    reason = f"{problem.reason}; of the {size} bytes of this one the first {_KEPT_BYTES} are kept"
    return row._replace(raw=row.raw[:_KEPT_BYTES], value=RowProblem(problem.rule, reason))


def collect_columns(path: Path, name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[ColumnBlock]:
    """Record batches of a file to blocks of them."""
    block = ColumnBlock(path, name, 1, [])
    for batch in chain.from_iterable(pieces(batch, BLOCK_BYTES) for batch in batches):
        block.batches.append(batch)
        if len(block) >= BLOCK_ROWS or sum(one.nbytes for one in block.batches) >= BLOCK_BYTES:
            yield block
            block = ColumnBlock(path, name, block.start + len(block), [])
    if len(block):
        yield block


def collect_lines(name: str, read: Callable[[int], bytes]) -> Iterator[LineBlock | RowBlock]:
    """A file's bytes to blocks of whole lines; of one that is far too long only the beginning is held.

    Args:
        name: of the file.
        read: the next bytes of it, at most so many; none at its end.
    """
    start = 1
    begun: list[bytes] = []
    size = 0
    """Of the line that is begun."""
    while data := read(BLOCK_BYTES):
        if size > _MOST_BYTES:
            end, newline, data = data.partition(b"\n")
            size += len(end)
            if not newline:
                continue
            yield RowBlock([_cut(RawRow(name, start, b"".join(begun), {}), size)])
            start, begun, size = start + 1, [], 0
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            begun.append(data)
            size += len(data)
            if size > _MOST_BYTES:
                begun = [bytes(islice(chain.from_iterable(begun), _KEPT_BYTES))]
            continue
        block = LineBlock(name, start, b"".join([*begun, whole]))
        yield block
        start += block.data.count(b"\n") + 1
        begun, size = [rest], len(rest)
    if size > _MOST_BYTES:
        yield RowBlock([_cut(RawRow(name, start, b"".join(begun), {}), size)])
    elif size:
        yield LineBlock(name, start, b"".join(begun))


def parse_line(raw: bytes) -> dict[str, Any] | RowProblem:
    """A line of JSON to its object, or why it is none."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass  # broken, or beyond what orjson takes: half a surrogate pair, NaN, a byte order mark
    else:
        # Any number may be an integer that orjson made a float of.
        if isinstance(value, dict) and all(isinstance(field, str) for field in value.values()):
            return value
    try:
        return as_object(json.loads(raw.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return RowProblem("invalid_utf8", f"not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return RowProblem("broken_json", json_reason(error))


def json_reason(error: ValueError | RecursionError) -> str:
    """What is wrong with a text that Python cannot read as JSON."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, json.JSONDecodeError):
        return f"a number has more than {sys.get_int_max_str_digits()} digits"
    return f"not valid JSON: {error.msg}"


def as_object(value: Any) -> dict[str, Any] | RowProblem:
    """A row's fields, where it has any."""
    if isinstance(value, dict):
        return value
    return RowProblem("not_an_object", f"a row is a JSON object, not {json_kind(value)}")


def dump_row(value: Any) -> bytes:
    """A row that came as values, as the JSON that quarantine keeps."""
    try:
        # Bytes of a CSV file that are no text come back as they were.
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode("ascii")  # half a surrogate pair stays an escape


def _is_readable(column: pa.Array) -> bool:
    try:
        column.to_pylist()
    except (OverflowError, ValueError, LookupError):
        return False
    return True
