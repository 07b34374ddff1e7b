"""Files of every kind to the same rows, and broken ones to one sentence."""

import codecs
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdpo.data.files import DataFile
from bdpo.data.readers import read_rows
from bdpo.data.rows import RawRow, RowProblem
from bdpo.errors import UserError

ROWS: list[dict[str, Any]] = [{"prompt": f"q{i}", "turns": [{"role": "user", "n": i}]} for i in range(2500)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def stored(path: Path, content: bytes) -> bytes:
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(content)
    return path.read_bytes()


def write_arrow(path: Path, rows: list[dict[str, Any]], *, stream: bool) -> None:
    table = pa.Table.from_pylist(rows)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)


def read(path: Path) -> list[RawRow]:
    return list(read_rows(DataFile(path, "named")))


def test_zstd_lines_are_the_lines(tmp_path: Path) -> None:
    stored(tmp_path / "x.jsonl.zst", LINES)
    rows = read(tmp_path / "x.jsonl.zst")
    assert [row.value for row in rows] == ROWS
    assert (rows[2].file, rows[2].line, rows[2].raw) == ("named", 3, json.dumps(ROWS[2]).encode())


def test_zstd_frames_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    frames = stored(tmp_path / "a", LINES) + stored(tmp_path / "b", LINES)
    (tmp_path / "x.jsonl.zst").write_bytes(frames)
    assert [row.value for row in read(tmp_path / "x.jsonl.zst")] == ROWS * 2


@pytest.mark.parametrize("stream", [False, True])
def test_arrow_files_and_streams(tmp_path: Path, stream: bool) -> None:
    write_arrow(tmp_path / "x.arrow", ROWS, stream=stream)
    rows = read(tmp_path / "x.arrow")
    assert [row.value for row in rows] == ROWS
    assert [row.line for row in rows] == list(range(1, 2501))
    assert json.loads(rows[7].raw) == ROWS[7]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl.zst", b"no zstd at all", "the zstd file is broken"),
        ("x.json.zst", b"no zstd at all", "the zstd file is broken"),
        ("x.csv.zst", b"no zstd at all", "the zstd file is broken"),
        ("x.arrow", b"no arrow at all, though long enough", "the Arrow file is broken"),
        ("x.arrow", b"ARROW1", "the Arrow file is broken"),
        ("x.arrow", b"", "the Arrow file is broken"),
        ("x.parquet", b"", "the Parquet file is broken"),
        ("x.jsonl.gz", gzip.compress(b"{}\n", mtime=0) + b"garbage", "the gzip file is broken"),
        ("x.jsonl.gz", b"{}\n", "the gzip file is broken"),
        ("x.jsonl", "{}".encode("utf-16"), r"the content is text in UTF-16; write it anew in UTF-8\.$"),
        ("x.json", codecs.BOM_UTF16_BE + b"\0[", "text in UTF-16"),
        ("x.csv", "prompt,chosen".encode("utf-16"), "text in UTF-16"),
        ("x.jsonl", gzip.compress(b"{}", mtime=0), r"compressed by gzip; let its name end in \.gz\.$"),
        ("x.csv", b"PK\x03\x04rest", "a zip archive, as a workbook is one"),
        ("x.jsonl.gz", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "compressed by gzip; "),
        ("x.csv", b"a,b,a\n1,2,3\n", r"two columns are called `a`; rename or remove one\.$"),
        ("x.csv", b",,\n1,2,3\n", r"two columns are called ``; rename or remove one\.$"),
        ("x.csv", "prompt;gewählt\nq;a\n".encode("latin-1"), r"the names of the columns are not UTF-8; write"),
        (
            "x.json",
            b'[{"a": ' + b"9" * 5000 + b"}]",
            r"a number has more than 4300 digits; write the rows as JSON lines, where such a row alone is refused\.$",
        ),
        (
            "x.json",
            b'[{"a": 1}, ' + b"[" * 100_000,
            "after 1 elements nested too deeply; write the rows as JSON lines, where",
        ),
        ("x.json", b'[{"a": 1}, {', "after 1 elements not valid JSON: Expecting property name.*; a list of objects is"),
        ("x.json", b'[{"a": 1}] {}', "after 1 elements not valid JSON: There is more after the list"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.zst").write_bytes(cut(stored(tmp_path / "whole", LINES)))
    for stream in (False, True):
        write_arrow(tmp_path / f"{stream}.arrow", ROWS, stream=stream)
        (tmp_path / f"{stream}.arrow").write_bytes(cut((tmp_path / f"{stream}.arrow").read_bytes()))
        with pytest.raises(UserError, match="the Arrow file is broken"):
            read(tmp_path / f"{stream}.arrow")
    with pytest.raises(UserError, match="the zstd file is broken"):
        read(tmp_path / "x.jsonl.zst")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
LINE = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20).map(
    lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, max_size=10))
def test_every_zstd_line_is_a_row_or_refused(tmp_path: Path, lines: list[bytes]) -> None:
    stored(tmp_path / "x.jsonl.zst", b"\n".join([b"", *lines]))  # so that no line looks like the start of a gzip file
    rows = read(tmp_path / "x.jsonl.zst")
    assert [row.raw for row in rows] == [line for line in lines if line.strip()]
    assert all(isinstance(row.value, (dict, RowProblem)) for row in rows)


CELL = st.none() | st.text(max_size=5) | st.just("a")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries({"prompt": CELL, "said": st.lists(CELL, max_size=3)}), min_size=1))
def test_every_arrow_row_comes_back(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    for stream in (False, True):
        write_arrow(tmp_path / "x.arrow", rows, stream=stream)
        assert [row.value for row in read(tmp_path / "x.arrow")] == rows


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    for name, content in (("x.jsonl", b'{"a": 1}\n'), ("x.json", b'[{"a": 1}]'), ("x.csv", b"a\n1\n")):
        (tmp_path / name).write_bytes(codecs.BOM_UTF8 + content)
        assert [row.value for row in read(tmp_path / name)] == [{"a": "1" if name == "x.csv" else 1}]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b'a,b\n"x ""y"",\nz",w\n', [{"a": 'x "y",\nz', "b": "w"}]),
        (b"a;b\nx,y;z\n", [{"a": "x,y", "b": "z"}]),
        (b"a\tb\r\nx;y\tz\r\n", [{"a": "x;y", "b": "z"}]),
        (b"a, b \nx,y\n", [{"a": "x", "b": "y"}]),
        (b'a;b\n"x;y";"z\n"\n', [{"a": "x;y", "b": "z\n"}]),
        (b"a,b;c\nx,y;z\n", [{"a": "x", "b;c": "y;z"}]),
        (b"\n \r\na;b\n\n1;2\n", [{"a": "1", "b": "2"}]),
        (b"a, b;c;d\nx,y;z;w\n", [{"a, b": "x,y", "c": "z", "d": "w"}]),
        (b'a;"b, or c";"d"\nx;y;z\n', [{"a": "x", "b, or c": "y", "d": "z"}]),
        (b'"a;b;c",d\nx,y\n', [{"a;b;c": "x", "d": "y"}]),
        (b"sep=;\r\na;b,c,d\r\nx;y\r\n", [{"a": "x", "b,c,d": "y"}]),
        (b"\xef\xbb\xbfSEP=\t\na\tb\nx\ty\n", [{"a": "x", "b": "y"}]),
        (b"sep=|\na|b\nx|y\n", [{"a": "x", "b": "y"}]),
        (b"a,b,,\nx,y,,\nz,w,, \n", [{"a": "x", "b": "y"}, {"a": "z", "b": "w"}]),
        (b",a,\nx,y,\n", [{"": "x", "a": "y"}]),
        (b"", []),
        (b"a,b\n", []),
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path: Path, content: bytes, values: list[dict[str, str]]) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert [row.value for row in read(tmp_path / "x.csv")] == values


def test_an_element_of_a_list_that_is_not_utf8_is_refused_alone(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'[{"a": "\xc3\xa9"}, {"a": "\xc3\xa9\xe9"},\n{"a": "\\udce9"}]')
    first, broken, last = read(tmp_path / "x.json")
    assert (first.value, last.value) == ({"a": "\u00e9"}, {"a": "\udce9"})  # an escape is no byte
    assert isinstance(broken.value, RowProblem)
    assert (broken.line, broken.value.rule, broken.value.reason) == (2, "invalid_utf8", "not UTF-8 at byte 9")
    assert broken.raw == b'{"a": "\xc3\xa9\xe9"}'


def test_a_field_that_the_header_has_no_name_for_is_empty(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"sep=,\na,b,,\nx,y,,\nx,y,,z\nx,y\n")
    good, more, fewer = read(tmp_path / "x.csv")
    assert (good.line, good.value) == (3, {"a": "x", "b": "y"})
    assert isinstance(more.value, RowProblem)
    assert isinstance(fewer.value, RowProblem)
    assert (more.line, more.value.rule) == (4, "wrong_number_of_fields")
    assert more.value.reason == "a field that the header has no name for is not empty"
    assert (fewer.line, fewer.value.reason) == (5, "2 fields where the header has 4")


SWALLOWED = "it goes on for 3 more lines, as after a quotation mark that is not closed"
BAD_QUOTE = (
    "a quotation mark is not closed, stands in a quoted text without being doubled, "
    "or has more than the separator after it"
)


@pytest.mark.parametrize(
    ("content", "refused", "reason"),
    [
        # All fields are there, so that the rest of the file would be the last text.
        (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', b'3,"4\n5,6\n7,8', f"{BAD_QUOTE}; the row goes on for 2 more lines"),
        (b'a,b\n1,2\n3,"4\n5,"6\n', b'3,"4\n5,"6', f"{BAD_QUOTE}; the row goes on for 1 more lines"),
        (b'a,b\n1,2\n3,"say "hi" now"\r\n', b'3,"say "hi" now"', BAD_QUOTE),
        (b'a,b\n1,2\n"\xff,"4"\n', b'"\xff,"4"', BAD_QUOTE),
    ],
)
def test_a_quotation_mark_that_is_not_closed_makes_no_text_of_other_rows(
    tmp_path: Path, content: bytes, refused: bytes, reason: str
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    good, broken = read(tmp_path / "x.csv")
    assert (good.value, broken.line, broken.raw) == ({"a": "1", "b": "2"}, 3, refused)
    assert isinstance(broken.value, RowProblem)
    assert (broken.value.rule, broken.value.reason) == ("broken_csv", reason)


def test_rows_after_a_wrong_quotation_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'a,b\n"1"x,2\n3,4\n"5\n\n6\n"\n7,8\n')
    rows = read(tmp_path / "x.csv")
    assert [(row.line, row.value) for row in rows if isinstance(row.value, dict)] == [
        (3, {"a": "3", "b": "4"}),
        (8, {"a": "7", "b": "8"}),
    ]
    assert [(row.line, row.value.reason) for row in rows if isinstance(row.value, RowProblem)] == [
        (2, BAD_QUOTE),
        (4, f"1 fields where the header has 2; {SWALLOWED}"),
    ]
    (tmp_path / "x.csv").write_bytes(b'a,"b\n1,2\n')
    with pytest.raises(UserError, match=r"x\.csv:2: not valid CSV: unexpected end of data"):
        read(tmp_path / "x.csv")


def test_what_json_lines_cannot_hold_is_said_without_advice_on_python(tmp_path: Path) -> None:
    number, deep = b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000
    (tmp_path / "x.jsonl").write_bytes(number + b"\n" + deep + b'\n7\n{"a": 1,}\n')
    reasons = [row.value.reason for row in read(tmp_path / "x.jsonl") if isinstance(row.value, RowProblem)]
    assert reasons[:3] == [
        "a number has more than 4300 digits",
        "nested too deeply",
        "a row is a JSON object, not a number",
    ]
    assert reasons[3].startswith("not valid JSON: ")


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["q"]), pa.array(["a"]), pa.array(["b"])], names=["prompt", "chosen", "chosen"])
    pq.write_table(table, tmp_path / "x.parquet")
    for name, new in (("file.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with new(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    for name in ("x.parquet", "file.arrow", "stream.arrow"):
        with pytest.raises(UserError, match=f"{name}: two columns are called `chosen`"):
            read(tmp_path / name)
