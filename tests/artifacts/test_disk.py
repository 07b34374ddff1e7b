"""Errors of the disk are told from bugs, whoever wrapped them."""

import errno
from pathlib import Path

import pytest

from bdpo.artifacts.disk import explain_disk_error
from bdpo.errors import ProcessFailed, UserError

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


def test_what_lies_elsewhere_is_named_and_the_artifacts_are_not() -> None:
    """As NCCL says it in a container with little shared memory, and torch raises it."""
    nccl = (
        "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:93, unhandled system error\nLast error:\n"
        "Error while creating shared memory segment /dev/shm/nccl-9TKPDr (size 9637888), error: No space left on "
        "device (28)"
    )
    for error, sentence in (
        (
            RuntimeError(nccl),
            "/dev/shm/nccl-9TKPDr: the disk is full; nothing finished is lost: free shared memory, of which a "  # noqa: S108
            "container has more by Docker's --shm-size (job variable shared_memory), then run the same command again.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/.triton"),
            "/.triton: permission is denied; nothing finished is lost: allow it, then run the same command again.",
        ),
    ):
        assert str(explain_disk_error(error, Path("/artifacts"))) == sentence


def test_of_another_processs_log_only_errors_of_the_artifacts_are_explained(tmp_path: Path) -> None:
    def failed(place: object) -> ProcessFailed:
        log = tmp_path / "train" / "train.log"
        lines = ["Traceback (most recent call last):", f"PermissionError: [Errno 13] Permission denied: '{place}'"]
        return ProcessFailed("\n".join([f"the training process ended with code 1; its log {log} ends:", *lines]))

    assert explain_disk_error(failed("/.triton"), tmp_path) is None, "a bug, with its traceback"
    explained = explain_disk_error(failed(tmp_path / "train" / "error.txt"), tmp_path)
    assert str(explained).startswith(f"{tmp_path}: permission is denied; nothing finished is lost: allow it or choose")


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
