"""Record batches cut into pieces that go to another process by themselves."""

from collections.abc import Callable, Iterator

import pyarrow as pa

BATCH_ROWS = 1024
"""Rows of a columnar file that a block is made larger by at a time."""


def pieces(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """A batch in pieces, for one of an Arrow file may be all of the file.

    Args:
        batch: of any length.
        most_bytes: a larger piece is halved for as long as that makes it smaller.
    """
    # Once for all pieces, which share a dictionary; Arrow looks nothing up in one of views, as Polars writes them.
    return _halved(_cast(batch, _without_views), most_bytes)


def _halved(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= BATCH_ROWS:
        batch = _cast(batch, _plain)
    half = batch.num_rows // 2
    parts = batch.slice(0, half), batch.slice(half)
    is_large = batch.nbytes > most_bytes and half > 0
    # Not where the parts are hardly smaller: they share what lies apart, as the values of a list view do.
    if batch.num_rows > BATCH_ROWS or (is_large and 2 * sum(part.nbytes for part in parts) < 3 * batch.nbytes):
        for part in parts:
            yield from _halved(part, most_bytes)
    else:
        yield batch


def _cast(batch: pa.RecordBatch, wanted: Callable[[pa.DataType], pa.DataType]) -> pa.RecordBatch:
    """A batch whose columns are of the wanted types, but for those that Arrow has no cast for."""
    if all(wanted(kind) == kind for kind in batch.schema.types):
        return batch
    columns = [_cast_column(column, wanted(column.type)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _cast_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_dictionary(column.type) and pa.types.is_nested(kind):
            return column.dictionary_decode().cast(kind)
        return column.cast(kind)
    except pa.ArrowNotImplementedError:
        return column


def _without_views(kind: pa.DataType) -> pa.DataType:
    """A column's type with no views in its dictionaries."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _plain(kind.value_type), kind.ordered)
    return _with_parts(kind, _without_views)


def _plain(kind: pa.DataType) -> pa.DataType:
    """A column's type without views and dictionaries: a slice of these would take the texts of all its batch along."""
    in_dictionary = pa.types.is_dictionary(kind)
    kind = kind.value_type if in_dictionary else kind
    # In large ones: a dictionary's few texts may be more than an array holds once each row has its own.
    if pa.types.is_string_view(kind) or (in_dictionary and pa.types.is_string(kind)):
        return pa.large_string()
    if pa.types.is_binary_view(kind) or (in_dictionary and pa.types.is_binary(kind)):
        return pa.large_binary()
    return _with_parts(kind, _plain)


def _with_parts(kind: pa.DataType, changed: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """A type whose parts are changed; one that has none is as it was."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(changed(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(changed(kind.key_type), changed(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(changed(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(changed(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(changed(kind.value_type)))
    return kind
