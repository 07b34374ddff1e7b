"""Errors of the disk are told from bugs, whoever wrapped them."""

import errno
from pathlib import Path

import pytest

from bdpo.artifacts.disk import explain_disk_error
from bdpo.errors import UserError

FULL = "/data/x.parquet: the disk is full; nothing finished is lost"


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x.parquet"), FULL),
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), "/data/x: the file system is read-only;"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "/data/x: permission is denied;"),
        (RuntimeError("IO Error: could not write: No space left on device"), "/artifacts: the disk is full;"),
    ],
)
def test_disk_errors_are_explained(error: Exception, start: str) -> None:
    explained = explain_disk_error(error, Path("/artifacts"))
    assert str(explained).startswith(start)


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "no"), RuntimeError("boom"), ValueError("full")])
def test_bugs_are_not(error: Exception) -> None:
    assert explain_disk_error(error, Path("/artifacts")) is None


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("x")
    for root in (taken, taken / "artifacts", tmp_path):
        with pytest.raises(OSError, match="taken") as raised:
            (taken if root == tmp_path else root / "ingest").mkdir(parents=True, exist_ok=True)
        assert str(explain_disk_error(raised.value, root)).startswith(f"{taken} is a file where a folder is needed:")
    assert explain_disk_error(raised.value, tmp_path / "artifacts") is None, "what lies elsewhere is a bug of ours"
    with pytest.raises(FileExistsError) as bug:
        tmp_path.mkdir()
    assert explain_disk_error(bug.value, tmp_path) is None


def test_a_sentence_is_not_put_into_another() -> None:
    assert explain_disk_error(UserError("/data/x.yaml: permission denied"), Path("/artifacts")) is None
