"""Pieces on object storage: only what its name says it is comes here, and nothing else is touched there."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bdpo.artifacts.bucket import Bucket
from bdpo.artifacts.pieces import Pieces, finished, unfinished


def make(folder: Path, content: bytes) -> str:
    name = f"{sha256(content).hexdigest()}.parquet"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return name


def pieces(folder: Path, place: str = "memory://bucket/runs") -> Pieces:
    folder.mkdir(exist_ok=True)
    return Pieces(Bucket(place), ("cache", "sequences", "scorer"), folder)


@pytest.mark.parametrize("place", ["memory://bucket/runs", "file://{}/shared"])
def test_what_one_machine_has_comes_to_another(place: str, memory: Any, tmp_path: Path) -> None:
    names = {make(tmp_path / "one", content) for content in (b"a", b"b")}
    unfinished(tmp_path / "one").write_bytes(b"half")
    pieces(tmp_path / "one", place.format(tmp_path)).push()
    other = pieces(tmp_path / "other", place.format(tmp_path))
    assert other.bring(pytest.fail) == 2
    assert {path.name for path in (tmp_path / "other").iterdir()} == names
    assert other.bring(pytest.fail) == 0


def test_only_new_pieces_are_pushed(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path / "one", b"a")
    shared = pieces(tmp_path / "one")
    assert shared.bring(pytest.fail) == 0
    shared.push()
    put: list[str] = []
    monkeypatch.setattr(memory, "put_file", lambda _, path, **__: put.append(path.rpartition("/")[2]))
    second = make(tmp_path / "one", b"b")
    shared.push()
    assert put == [second]
    # Another process does not push them again either, whether it has looked or not.
    again = pieces(tmp_path / "one")
    again.bring(pytest.fail)
    (tmp_path / "one" / second).unlink()
    again.push()
    pieces(tmp_path / "one").push()
    assert put == [second]
    assert first


@pytest.mark.parametrize("place", ["memory://bucket/runs", "file://{}/shared"])
def test_what_one_machine_forgot_no_other_pushes_back(place: str, memory: Any, tmp_path: Path) -> None:
    place = place.format(tmp_path)
    old, kept = make(tmp_path / "one", b"old"), make(tmp_path / "one", b"kept")
    pieces(tmp_path / "one", place).push()
    assert pieces(tmp_path / "other", place).bring(pytest.fail) == 2

    forced = pieces(tmp_path / "one", place)
    forced.bring(pytest.fail)
    (tmp_path / "one" / old).unlink()
    forced.delete([old])
    pieces(tmp_path / "other", place).push()
    again = pieces(tmp_path / "other", place)
    again.bring(pytest.fail)
    again.push()
    assert pieces(tmp_path / "third", place).bring(pytest.fail) == 1
    assert [path.name for path in finished(tmp_path / "third")] == [kept]

    # Computed anew it comes out the same, and is everybody's again.
    make(tmp_path / "one", b"old")
    forced.push()
    assert pieces(tmp_path / "third", place).bring(pytest.fail) == 1
    make(tmp_path / "other", b"new")
    pieces(tmp_path / "other", place).push()
    assert pieces(tmp_path / "third", place).bring(pytest.fail) == 1


def test_a_damaged_piece_and_strange_names_stay_where_they_are(memory: Any, tmp_path: Path) -> None:
    name = make(tmp_path / "one", b"a")
    pieces(tmp_path / "one").push()
    place = "/bucket/runs/cache/sequences/scorer"
    memory.pipe_file(f"{place}/{name}", b"b")
    memory.pipe_file(f"{place}/notes.txt", b"mine")
    memory.pipe_file(f"{place}/..%2f..%2foutside.parquet", b"hostile")
    said: list[str] = []
    assert pieces(tmp_path / "other").bring(said.append) == 0
    assert said == [f"memory://bucket/runs/cache/sequences/scorer/{name} is damaged or being written; it is not used"]
    assert finished(tmp_path / "other") == list((tmp_path / "other").iterdir()) == []
    assert len(memory.find(place)) == 3
