"""A column of JSON is read as the JSON lines that it was made of."""

import json
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.data.files import DataFile, data_files
from bdpo.data.readers import read_blocks, read_rows
from bdpo.data.rows import Candidate, RawRow, RowProblem
from bdpo.errors import UserError
from tests.data.parsed import read_source_blocks

SAID = 'say "hi"\nplease'


def candidates(path: Path) -> list[Any]:
    blocks = (block for file in data_files(path) for block in read_blocks(file))
    return [parsed.outcome for parsed in read_source_blocks(blocks, origin="x")]


def json_array(texts: list[str | None]) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def read_table(table: pa.Table, path: Path) -> list[RawRow]:
    """Its rows, the same from Parquet and from Arrow."""
    pq.write_table(table, path / "x.parquet")
    with pa.ipc.new_stream(path / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    parquet, arrow = (list(read_rows(DataFile(path / f"x.{kind}", "x"))) for kind in ("parquet", "arrow"))
    assert [(row.line, row.raw, repr(row.value)) for row in parquet] == [
        (row.line, row.raw, repr(row.value)) for row in arrow
    ]
    return parquet


def test_contents_of_two_types_are_the_same_from_every_file(tmp_path: Path) -> None:
    def row(content: Any, other: Any) -> dict[str, Any]:
        asked = {"role": "user", "content": SAID}
        sides = {"chosen": content, "rejected": other}
        return {name: [asked, {"role": "assistant", "content": said}] for name, said in sides.items()}

    def parts(text: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text}]

    rows = [row(SAID, "b"), row(parts(SAID), parts("b"))]
    lines = tmp_path / "x.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = datasets.load_dataset("json", data_files=str(lines), split="train", cache_dir=str(tmp_path / "cache"))
    loaded.to_parquet(tmp_path / "datasets.parquet")
    loaded.save_to_disk(tmp_path / "saved")
    duckdb.sql(f"copy (select * from read_json('{lines}')) to '{tmp_path / 'duckdb.parquet'}'")
    expected = Candidate([{"role": "user", "content": SAID}], SAID, "b")
    assert candidates(lines) == [expected, expected]
    for path in (tmp_path / "datasets.parquet", tmp_path / "saved", tmp_path / "duckdb.parquet"):
        assert candidates(path) == [expected, expected], path.name


def test_json_is_read_wherever_it_lies(tmp_path: Path) -> None:
    texts: list[str | None] = [json.dumps(SAID), "null", None, "[1, 2.5]"]
    values = [SAID, None, None, [1, 2.5]]
    inner = json_array(texts)
    is_null = pa.array([False, False, False, True])
    table = pa.table(
        {
            "plain": inner,
            "inside": pa.StructArray.from_arrays([inner, pa.array(texts)], names=["json", "text"], mask=is_null),
            "list": pa.ListArray.from_arrays(pa.array([0, 2, None, 2, 4], pa.int32()), inner),
            "large": pa.LargeListArray.from_arrays(pa.array([0, 2, 2, 3, 4], pa.int64()), inner),
            "map": pa.MapArray.from_arrays([0, 1, 1, 2, 4], pa.array(["a", "b", "c", "d"]), inner),
        }
    )
    rows = read_table(table, tmp_path)
    found = {name: [row.value[name] for row in rows] for name in table.column_names}  # type: ignore[index]
    assert found == {
        "plain": values,
        "inside": [{"json": values[i], "text": texts[i]} for i in range(3)] + [None],
        "list": [values[:2], [], None, values[2:]],
        "large": [values[:2], [], values[2:3], values[3:]],
        "map": [[("a", values[0])], [], [("b", values[1])], [("c", values[2]), ("d", values[3])]],
    }
    assert json.loads(rows[0].raw)["plain"] == SAID


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("say hi", "not valid JSON: Expecting value"),
        ("", "not valid JSON: Expecting value"),
        ("9" * 5000, "a number has more than 4300 digits"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=["text", "empty", "number", "deep"],
)
def test_a_text_that_is_no_json_is_refused_alone(tmp_path: Path, broken: str, reason: str) -> None:
    first, refused, last = read_table(pa.table({"said": json_array(['"a"', broken, '"b"'])}), tmp_path)
    assert (first.value, last.value) == ({"said": "a"}, {"said": "b"})
    assert isinstance(refused.value, RowProblem)
    assert (refused.value.rule, refused.value.reason) == ("broken_json", f"in a column of JSON: {reason}")
    assert json.loads(refused.raw) == {"said": broken}


def test_json_that_is_not_utf8_is_refused_alone(tmp_path: Path) -> None:
    offsets = pa.array([0, 3, 6], pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b'"\xff""a"')])
    table = pa.table({"said": pa.ExtensionArray.from_storage(pa.json_(), texts)})
    refused, good = read_table(table, tmp_path)
    assert good.value == {"said": "a"}
    assert isinstance(refused.value, RowProblem)
    assert refused.value.rule == "invalid_utf8"


def test_a_field_whose_name_is_not_utf8_is_told_in_a_sentence(tmp_path: Path) -> None:
    """Of a field that holds no JSON each row is refused, for no row can be read without the name."""
    for kind, texts in (("json", json_array(['"a"'])), ("text", pa.array(["a"]))):
        inner = pa.StructArray.from_arrays([texts], names=["fieldname"])
        with pa.ipc.new_stream(tmp_path / "x.arrow", pa.schema([("said", inner.type)])) as writer:
            writer.write_batch(pa.record_batch([inner], names=["said"]))
        content = (tmp_path / "x.arrow").read_bytes()
        (tmp_path / "x.arrow").write_bytes(content.replace(b"fieldname", b"\xb2ieldname"))
        if kind == "json":
            with pytest.raises(UserError, match=r"x\.arrow: the file is broken \(.*invalid start byte\)"):
                list(read_rows(DataFile(tmp_path / "x.arrow", "x")))
        else:
            (row,) = read_rows(DataFile(tmp_path / "x.arrow", "x"))
            assert isinstance(row.value, RowProblem)
            assert row.value.rule == "invalid_utf8"
