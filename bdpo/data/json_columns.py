"""Columns of JSON, as `datasets` and DuckDB write values of several types: texts that are to be read."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

Reader = Callable[[Any], Any]
_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType)


def json_readers(fields: pa.Schema | pa.StructType) -> dict[str, Reader]:
    """The fields in which there is JSON, and what reads it in a value as pyarrow gives it, as `datasets` does.

    A reader raises ValueError or RecursionError where a text is no JSON.

    Raises:
        UnicodeDecodeError: the name of such a field is not UTF-8; those of others are not looked at.
    """
    readers = ((field, _reader(field.type)) for field in fields)
    return {field.name: reader for field, reader in readers if reader is not None}


def _reader(kind: pa.DataType) -> Reader | None:
    if isinstance(kind, pa.JsonType):
        return lambda text: None if text is None else json.loads(text)
    if isinstance(kind, pa.StructType):
        readers = json_readers(kind)
        return _of_struct(readers) if readers else None
    if isinstance(kind, pa.MapType):
        item = _reader(kind.item_type)
        return None if item is None else _of_list(lambda pair: (pair[0], item(pair[1])))
    if isinstance(kind, _LISTS):
        element = _reader(kind.value_type)
        return None if element is None else _of_list(element)
    return None


def _of_struct(readers: dict[str, Reader]) -> Reader:
    def read(value: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if value is None else value | {name: of_field(value[name]) for name, of_field in readers.items()}

    return read


def _of_list(element: Reader) -> Reader:
    return lambda values: None if values is None else [element(value) for value in values]
