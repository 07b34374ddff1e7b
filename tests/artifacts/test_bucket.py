"""A download that is broken off is tried again; what a second try would not mend is not."""

import errno
from pathlib import Path
from typing import Any

import pytest

from bdpo.artifacts import bucket
from bdpo.artifacts.bucket import Bucket
from bdpo.errors import UserError

RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.fixture
def failing(memory: Any, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """The errors that the next downloads meet half-way, the first first; `bucket` has a whole object."""
    errors: list[Exception] = []
    get_file = memory.get_file

    def get(path: str, file: str) -> None:
        if errors:
            Path(file).write_bytes(b"weig")
            raise errors.pop(0)
        get_file(path, file)

    memory.pipe_file("/bucket/model", b"weights")
    monkeypatch.setattr(memory, "get_file", get)
    monkeypatch.setattr(bucket, "_PAUSES_S", (0.0, 0.0))
    return errors


def test_a_lost_connection_is_tried_again(failing: list[Exception], tmp_path: Path) -> None:
    failing += [RESET, TimeoutError()]
    assert Bucket("memory://bucket").download(tmp_path / "model", "model")
    assert (tmp_path / "model").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("error", "tries"),
    [(RESET, 3), (PermissionError(errno.EACCES, "Forbidden"), 1), (OSError(errno.ENOSPC, "No space left"), 1)],
)
def test_it_is_given_up_after_three_tries_or_where_they_are_of_no_use(
    failing: list[Exception], tmp_path: Path, error: Exception, tries: int
) -> None:
    failing += [error] * 5
    expected = type(error) if isinstance(error, OSError) and error.errno == errno.ENOSPC else UserError
    with pytest.raises(expected, match=r"No space left|memory://bucket/model cannot be read: "):
        Bucket("memory://bucket").download(tmp_path / "model", "model")
    assert len(failing) == 5 - tries


def test_a_missing_object_is_missing_at_once(failing: list[Exception], tmp_path: Path) -> None:
    failing += [FileNotFoundError()] * 2
    assert not Bucket("memory://bucket").download(tmp_path / "model", "model")
    assert len(failing) == 1
