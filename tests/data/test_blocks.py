"""Blocks hold all rows of a file once, wherever it is cut."""

import io
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdpo.data import readers
from bdpo.data.blocks import LineBlock, as_object, collect, collect_columns, collect_lines, parse_line
from bdpo.data.files import DataFile
from bdpo.data.readers import read_blocks
from bdpo.data.rows import RawRow, RowProblem
from bdpo.errors import UserError

PIECE = st.sampled_from([b"{}", b"[1", b"\n", b"\n\n", b" ", b"\r\n", b"\xff", b'{"a": "\xc3\xa9"}', b"\x0b"])
CONTENT = st.lists(PIECE, max_size=12).map(b"".join)


@settings(max_examples=200)
@given(content=CONTENT, size=st.integers(1, 6), num=st.integers(0, 6))
def test_lines_are_the_same_wherever_the_file_is_cut(content: bytes, size: int, num: int) -> None:
    expected = [(line, raw.rstrip(b"\r")) for line, raw in enumerate(content.split(b"\n"), start=1) if raw.strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bdpo.data.blocks.BLOCK_BYTES", size)
        blocks = list(collect_lines("x", io.BytesIO(content).read))
    assert [(row.line, row.raw) for block in blocks for row in block.rows()] == expected
    assert sum(map(len, blocks)) == len(expected)
    whole = LineBlock("x", 1, content)
    assert [(row.line, row.raw) for row in whole.first(num).rows()] == expected[:num]


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(2**70)
VALUE = st.recursive(SCALAR, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=3), v, max_size=2))
LINE = (
    st.dictionaries(st.text(max_size=3), st.text(max_size=4) | VALUE, max_size=3).map(lambda v: json.dumps(v).encode())
    | VALUE.map(lambda v: json.dumps(v, ensure_ascii=False).encode(errors="surrogatepass"))
    | st.binary(max_size=12)
    | st.sampled_from([
        b'{"a": "x", "a": "y"}', b'{"a": 18446744073709551616}', b'{"a": NaN}', b'\xef\xbb\xbf{"a": "x"}',
        b'{"a": "\\ud800"}', b'{"a": "\xed\xa0\x80"}', b'{"a": "\x01"}', b"[" * 1500 + b"]" * 1500, b'{"a": "x"}}',
        b'{"a":' * 1010 + b"1" + b"}" * 1010, b'\x0c{"a": "x"}', b'{"a": "\x7f\\u0000"}', b'{"a": 1e999}',
    ])
)  # fmt: skip


@settings(max_examples=300)
@given(raw=LINE)
def test_a_line_is_what_the_json_module_makes_of_it(raw: bytes) -> None:
    found = parse_line(raw)
    try:
        expected: Any = as_object(json.loads(raw.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        assert isinstance(found, RowProblem)
        assert found.rule in ("invalid_utf8", "broken_json")
        return
    if isinstance(expected, RowProblem):
        assert isinstance(found, RowProblem)
        assert (found.rule, found.reason) == (expected.rule, expected.reason)
    else:
        assert repr(found) == repr(expected)  # NaN is no NaN's equal, and 1 is no True


LISTED: st.SearchStrategy[Any] = st.sampled_from([1, 12.5, -3, 'a"b', [1, [2]], {"a": []}, None, True, "é", 10**30])


@settings(max_examples=300)
@given(
    values=st.lists(LISTED, max_size=4),
    indent=st.sampled_from([None, 1]),
    put=st.sampled_from(["", ",", "]", "[", "1", '"', " ", "e", "-", "\x0b", ".", "\\"]),
    share=st.floats(0, 1),
    chars=st.integers(3, 40),
)
def test_a_list_read_in_pieces_is_the_list(
    values: list[Any], indent: int | None, put: str, share: float, chars: int
) -> None:
    text = json.dumps(values, indent=indent)
    at = 1 + int(share * (len(text) - 1))
    text = text[:at] + put + text[at:]
    try:
        expected = json.loads(text)
    except ValueError:
        expected = ValueError
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_READ_CHARS", chars)
        try:
            found: Any = [value for value, _ in readers._items(io.StringIO(text))]
        except ValueError:
            found = ValueError
    assert found == expected


def test_a_broken_list_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = io.StringIO("[1, 2 3, " + "4, " * 2_000_000 + "5]")
    with pytest.raises(ValueError, match="delimiter"):
        list(readers._items(file))
    assert file.tell() <= readers._READ_CHARS
    (tmp_path / "x.json").write_text('[{"a": 1}, {"a": 2}, nonsense]')
    with pytest.raises(UserError, match=r"x\.json: after 2 elements not valid JSON: Expecting value;"):
        list(read_blocks(DataFile(tmp_path / "x.json", "x.json")))


def test_rows_and_columns_are_collected_up_to_the_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bdpo.data.blocks.BLOCK_ROWS", 4)
    rows = [RawRow("x", line, b"{}", {}) for line in range(1, 11)]
    assert [len(block) for block in collect(rows)] == [4, 4, 2]
    monkeypatch.setattr("bdpo.data.blocks.BLOCK_BYTES", 5)
    assert [len(block) for block in collect(rows)] == [3, 3, 3, 1]
    table = pa.table({"n": list(range(10))})
    blocks = list(collect_columns(tmp_path, "x", table.to_batches(max_chunksize=3)))
    assert [(row.line, row.value) for block in blocks for row in block.rows()] == [(i + 1, {"n": i}) for i in range(10)]
    assert [row.line for row in blocks[-1].first(0).rows()] == []
    monkeypatch.setattr("bdpo.data.blocks.BLOCK_BYTES", 10**9)
    first, *_ = collect_columns(tmp_path, "x", table.to_batches(max_chunksize=3))
    assert [row.value for row in first.first(5).rows()] == [{"n": i} for i in range(5)]


def test_a_batch_that_is_the_whole_file_is_no_block(tmp_path: Path) -> None:
    """And what goes to another process of a part of it is that part."""
    table = pa.table({"n": list(range(20_000)), "said": [["x" * 100]] * 20_000})
    blocks = list(collect_columns(tmp_path, "x", table.to_batches()))
    assert [8192 <= len(block) < 8192 + 1024 for block in blocks] == [True, True, False]
    for block in (blocks[1], blocks[1].first(7)):
        sent = pickle.dumps(block, pickle.HIGHEST_PROTOCOL)
        assert len(sent) < 130 * len(block) + 2000
        again = pickle.loads(sent)  # noqa: S301
        assert list(again.rows()) == list(block.rows())
        assert (again.path, again.file, again.start) == (tmp_path, "x", len(blocks[0]) + 1)
    wide = pa.table({"said": ["x" * 2**20] * 100})
    assert max(map(len, collect_columns(tmp_path, "x", wide.to_batches()))) <= 32


_VIEWS = pa.list_(pa.struct([("role", pa.string_view()), ("content", pa.binary_view())]))
_CATEGORIES = pa.dictionary(pa.uint32(), pa.string_view())
"""As Polars writes a Categorical; an Enum is ordered."""
_ROLE = pa.dictionary(pa.uint8(), pa.string_view(), True)
_MESSAGES = pa.list_(pa.struct([("role", _ROLE), ("content", pa.string())]))
_OF_STRUCTS = pa.dictionary(pa.int32(), pa.struct([("content", pa.string_view())]))
_OF_LISTS = pa.dictionary(pa.int32(), pa.list_(pa.string()))


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Of dictionaries Arrow itself makes those of texts alone."""
    if kind == _MESSAGES:
        made = pa.list_(pa.struct([("role", pa.dictionary(pa.uint8(), pa.string())), ("content", pa.string())]))
        return pa.array(values, made).cast(kind)
    if not pa.types.is_dictionary(kind):
        return pa.array(values, kind)
    present = [value for value in values if value is not None]
    places = iter(range(len(present)))
    indices = pa.array([None if value is None else next(places) for value in values], kind.index_type)
    return pa.DictionaryArray.from_arrays(indices, pa.array(present, kind.value_type))


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.list_(pa.string_view(), 1),
        pa.large_list(pa.string_view()),
        pa.map_(pa.string(), pa.string_view()),
        _VIEWS,
        _CATEGORIES,
        _MESSAGES,
        _OF_STRUCTS,
        _OF_LISTS,
    ],
    ids=str,
)
def test_what_shares_its_texts_goes_to_other_processes_once(tmp_path: Path, kind: pa.DataType) -> None:
    texts = [f"{i} " + "x" * 200 for i in range(20_000)]
    values: dict[str, list[Any]] = {
        "string_view": texts,
        "dictionary<values=string, indices=int32, ordered=0>": texts,
        str(_CATEGORIES): texts,
        str(_OF_STRUCTS): [{"content": text} for text in texts],
        str(_MESSAGES): [[{"role": "user", "content": text}] for text in texts],
        "binary_view": [text.encode() for text in texts],
        "map<string, string_view>": [[("key", text)] for text in texts],
        str(_VIEWS): [[{"role": "user", "content": text.encode()}] for text in texts],
    }
    said = [value if i % 7 else None for i, value in enumerate(values.get(str(kind), [[text] for text in texts]))]
    batch = pa.record_batch({"said": column(said, kind)})
    blocks = list(collect_columns(tmp_path, "x", [batch]))
    assert len(blocks) == 3
    assert sum(len(pickle.dumps(block, pickle.HIGHEST_PROTOCOL)) for block in blocks) < 2 * batch.nbytes
    rows = [row for block in blocks for piece in block.batches for row in piece.to_pylist()]
    assert rows == [{"said": value} for value in batch["said"].to_pylist()]


def test_a_column_that_arrow_cannot_cast_is_left_as_it_is(tmp_path: Path) -> None:
    inner = column([{"content": "a"}, None, {"content": "b"}], _OF_STRUCTS)
    batch = pa.record_batch({"said": pa.StructArray.from_arrays([inner], ["inner"]), "id": pa.array(["1", "2", "3"])})
    (block,) = collect_columns(tmp_path, "x", [batch])
    assert [row for piece in block.batches for row in piece.to_pylist()] == batch.to_pylist()


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_a_row_that_no_array_would_hold_is_refused_and_its_beginning_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("bdpo.data.blocks._MOST_BYTES", 1000)
    monkeypatch.setattr("bdpo.data.blocks._KEPT_BYTES", 10)
    values, path = [{"prompt": "Q"}, {"prompt": "long " * 300}, {"prompt": "R"}], tmp_path / f"x.{kind}"
    match kind:
        case "jsonl":
            path.write_text("".join(json.dumps(value) + "\n" for value in values))
        case "json":
            path.write_text(json.dumps(values))
        case "csv":
            path.write_text("prompt\n" + "".join(value["prompt"] + "\n" for value in values))
        case _:
            pq.write_table(pa.Table.from_pylist(values), path)
    first, long, last = (row for block in read_blocks(DataFile(path, "x")) for row in block.rows())
    assert [(row.line - first.line, row.value) for row in (first, last)] == [(0, values[0]), (2, values[2])]
    assert isinstance(long.value, RowProblem)
    assert (long.value.rule, len(long.raw), long.line - first.line) == ("over_long", 10, 1)
    assert long.value.reason.startswith("a row may have 1000 bytes; of the 15")
    assert long.value.reason.endswith("bytes of this one the first 10 are kept")


@pytest.mark.parametrize("rest", ["", '\n{"prompt": "R"}', "\n"])
def test_a_line_without_an_end_is_not_gathered(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    monkeypatch.setattr("bdpo.data.blocks.BLOCK_BYTES", 2**16)
    monkeypatch.setattr("bdpo.data.blocks._MOST_BYTES", 2**17)
    monkeypatch.setattr("bdpo.data.blocks._KEPT_BYTES", 10)
    file = io.BytesIO(b'{"prompt": "Q"}\n' + b"[1, 2, 3" * 2**20 + rest.encode())
    tracemalloc.start()
    try:
        first, long, *last = (row for block in collect_lines("x", file.read) for row in block.rows())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert (first.line, first.value) == (1, {"prompt": "Q"})
    assert isinstance(long.value, RowProblem)
    assert (long.line, long.raw, long.value.rule) == (2, b"[1, 2, 3[1", "over_long")
    assert long.value.reason == f"a row may have {2**17} bytes; of the {2**23} bytes of this one the first 10 are kept"
    assert [(row.line, row.value) for row in last] == ([(3, {"prompt": "R"})] if "R" in rest else [])


def test_why_an_over_long_row_is_none_is_still_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdpo.data.blocks._MOST_BYTES", 100)
    (tmp_path / "x.csv").write_text('prompt,chosen\nQ,"open\n' + "R,good\n" * 50)
    *_, row = (row for block in read_blocks(DataFile(tmp_path / "x.csv", "x")) for row in block.rows())
    assert isinstance(row.value, RowProblem)
    assert row.value.rule == "broken_csv"
    assert row.value.reason.endswith("; of the 357 bytes of this one the first 1048576 are kept")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.binary(max_size=4), min_size=1, max_size=12))
def test_rows_of_a_column_that_is_no_utf8_are_refused_alone(tmp_path: Path, texts: list[bytes]) -> None:
    column = _as_string(texts)
    pq.write_table(pa.table({"prompt": column}), tmp_path / "x.parquet")
    rows = [row for block in read_blocks(DataFile(tmp_path / "x.parquet", "x")) for row in block.rows()]
    assert [row.line for row in rows] == list(range(1, len(texts) + 1))
    for row, text in zip(rows, texts, strict=True):
        try:
            assert row.value == {"prompt": text.decode()}
        except UnicodeDecodeError:
            assert isinstance(row.value, RowProblem)
            assert (row.value.rule, row.raw) == ("invalid_utf8", text)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([0, 2**30], pa.date32()), r"`when`, of date32\[day\], holds what cannot be read \(days="),
        (
            pa.array([0, 2**62], pa.timestamp("us")),
            r"`when`, of timestamp\[us\], holds what cannot be read \(date value",
        ),
        (pa.array([0, 1], pa.timestamp("us", tz="No/Where")), r"`when`, of timestamp\[us, tz=No/Where\], holds"),
    ],
)
def test_a_column_that_python_has_no_values_for_is_named(tmp_path: Path, column: pa.Array, reason: str) -> None:
    pq.write_table(pa.table({"prompt": _as_string([b"\xff", b"q"]), "when": column}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: the column " + reason):
        [list(block.rows()) for block in read_blocks(DataFile(tmp_path / "x.parquet", "x"))]


def _as_string(texts: list[bytes]) -> pa.Array:
    """A column of strings that holds any bytes."""
    held = pa.array(texts, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(held), held.buffers())
