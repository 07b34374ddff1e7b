"""What is kept is read again whole, or made again."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bdpo.artifacts.kept import kept_json, kept_table

TABLE = pa.table({"pair_id": ["a", "b"], "logp": [-1.5, -2.25]})
VALUE = {"task": {"0": True, "1": False}}


def table(folder: Path) -> tuple[Any, Path, int]:
    """The table, its file, and how often it was made."""
    made: list[int] = []

    def make() -> pa.Table:
        made.append(1)
        return TABLE

    found = kept_table(folder, "00000000", make)
    (path,) = folder.iterdir()
    return found.to_pylist(), path, len(made)


def value(folder: Path) -> tuple[Any, Path, int]:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return VALUE

    path = folder / "value.json"
    return kept_json(path, make), path, len(made)


@pytest.mark.parametrize(("keep", "expected"), [(table, TABLE.to_pylist()), (value, VALUE)])
def test_it_is_made_once_and_again_where_any_bit_of_its_data_or_its_end_is_gone(
    tmp_path: Path, keep: Callable[[Path], tuple[Any, Path, int]], expected: Any
) -> None:
    found, path, times = keep(tmp_path / "kept")
    assert (found, times) == (expected, 1)
    assert keep(tmp_path / "kept") == (expected, path, 0)
    content = path.read_bytes()
    damaged = [content[:-9], b""]
    for place in range(0, len(content) - 1, 7):  # the last byte of the JSON is a line end
        flipped = bytearray(content)
        flipped[place] ^= 4
        damaged.append(bytes(flipped))
    for harmed in damaged:
        path.write_bytes(harmed)
        assert keep(tmp_path / "kept") == (expected, path, 1), harmed


def test_a_value_of_before_it_had_a_digest_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "value.json").write_text(json.dumps({"task": {"0": False}}))
    assert value(tmp_path)[0] == VALUE


def test_makers_with_one_process_id_do_not_take_each_others_files(tmp_path: Path) -> None:
    """Threads have one, as the first processes of two containers have."""
    with ThreadPoolExecutor(8) as pool:
        folders = [tmp_path / str(i // 8) for i in range(64)]
        tables = [pool.submit(kept_table, folder, "00000000", lambda: TABLE) for folder in folders]
        values = [pool.submit(kept_json, folder / "value.json", lambda: VALUE) for folder in folders]
        assert all(each.result() == TABLE for each in tables)
        assert all(each.result() == VALUE for each in values)
