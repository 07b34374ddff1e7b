"""Rows through `datasets`.  No hub is needed: a local folder of Parquet is loaded the same way."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdpo.data.hub import hub_rows, resolve_commit, stream_rows
from bdpo.errors import UserError

SPLITS = {"train": ["q0", "q1", "q2"], "test": ["t0"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, prompts in SPLITS.items():
        table = pa.Table.from_pylist([{"prompt": prompt, "chosen": ["a"]} for prompt in prompts])
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    return tmp_path


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_streamed_in_order(folder: Path, split: str) -> None:
    rows = list(stream_rows(str(folder), commit=None, split=split))
    assert [row.value for row in rows] == [{"prompt": prompt, "chosen": ["a"]} for prompt in SPLITS[split]]
    assert [(row.file, row.line) for row in rows] == [(str(folder), i + 1) for i in range(len(rows))]
    assert rows[0].raw.startswith(b'{"prompt": ')


def test_an_unknown_split_is_named_with_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"split 'valid': .*Available splits: \['train', 'test'\]"):
        list(stream_rows(str(folder), commit=None, split="valid"))


def test_a_broken_file_is_no_crash(folder: Path) -> None:
    (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1xx")
    with pytest.raises(UserError, match="the dataset cannot be read: Parquet file size is 6 bytes"):
        list(stream_rows(str(folder), commit=None, split="train"))


def test_a_folder_without_data_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the dataset cannot be read"):
        list(stream_rows(str(tmp_path / "none"), commit=None, split="train"))


def test_a_commit_stands_for_itself() -> None:
    assert resolve_commit("owner/name", "0123456789" * 4) == "0123456789" * 4


def test_an_unreachable_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"hub 'owner/unreachable': the hub gave no commit for the revision 'main'"):
        resolve_commit("owner/unreachable", None)


def test_a_folder_of_the_same_name_does_not_stand_in_for_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(UserError, match="the working folder holds owner/name too"):
        hub_rows("owner/name", revision="0" * 40, split="train")
