"""A path stands for a file, the files of a folder, or what a glob matches; anything else is an error."""

import os
from pathlib import Path

import datasets
import pytest

from bdpo.data.files import data_files, kind_of
from bdpo.data.readers import read_rows
from bdpo.errors import UserError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(path: Path) -> list[str]:
    return [file.name for file in data_files(path)]


def test_a_file_a_folder_and_a_glob(tmp_path: Path) -> None:
    touch(tmp_path, "b.jsonl", "a.parquet", "c.csv.gz", ".hidden")
    assert named(tmp_path / "b.jsonl") == ["b.jsonl"]
    assert named(tmp_path) == ["a.parquet", "b.jsonl", "c.csv.gz"]
    assert named(tmp_path / "[bc].*") == ["b.jsonl", "c.csv.gz"]


def test_files_of_several_folders_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "y/1.jsonl", "x/1.jsonl", "x/deep/2.jsonl", ".git/1.jsonl")
    assert named(tmp_path / "*" / "1.jsonl") == ["x/1.jsonl", "y/1.jsonl"]
    assert named(tmp_path / "**" / "*.jsonl") == ["x/1.jsonl", "x/deep/2.jsonl", "y/1.jsonl"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert named(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]


def test_a_data_set_that_was_saved_to_disk_is_its_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{i}", "chosen": "a", "rejected": "b"} for i in range(5)]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved", num_shards=2)
    touch(tmp_path / "saved", "cache-0123.arrow")
    files = data_files(tmp_path / "saved")
    assert [file.name for file in files] == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    assert [row.value for file in files for row in read_rows(file)] == rows
    files[1].path.unlink()
    with pytest.raises(UserError, match=r"state\.json: it names 'data-00001-of-00002\.arrow', which is no file"):
        data_files(tmp_path / "saved")


def test_rows_in_files_of_these_names_are_rows(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('[{"prompt": "Q"}]')
    (tmp_path / "dataset_info.json").write_text('[{"prompt": "Q"}]')
    assert named(tmp_path) == ["dataset_info.json", "state.json"]


@pytest.mark.parametrize(
    ("made", "path", "message"),
    [
        ([], "gone.jsonl", "there is no such data file"),
        ([], "*.jsonl", "no file matches this pattern"),
        ([], "", "the folder is empty"),
        ([".hidden"], "", "the folder is empty"),
        (["x.jsonl", "notes.txt"], "", "the folder holds notes.txt, which is no data file"),
        (["x.jsonl", "more/y.jsonl"], "", "the folder holds another folder, more"),
        (["x.jsonl", "y.xml"], "*", "unknown kind of file '.xml'"),
        (["x.parquet.gz"], "x.parquet.gz", "unknown kind of file '.parquet.gz'"),
        (["x"], "x", "unknown kind of file ''"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, made: list[str], path: str, message: str) -> None:
    touch(tmp_path, *made)
    with pytest.raises(UserError, match=message) as error:
        data_files(tmp_path / path)
    assert str(error.value).startswith(str(tmp_path))


def test_a_kind_and_its_compression() -> None:
    assert kind_of(Path("a.b.JSONL.GZ")) == (".jsonl", ".gz")
    assert kind_of(Path("a.jsonl.zst")) == (".jsonl", ".zst")
    assert kind_of(Path("a.arrow")) == (".arrow", "")


def test_a_link_to_nothing_and_a_pipe_are_named(tmp_path: Path) -> None:
    for name in ("link", "pipe"):
        touch(tmp_path, f"{name}/a.jsonl")
    (tmp_path / "link" / "b.jsonl").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe" / "b.jsonl")  # which would be read for ever
    for what in ("", "*.jsonl", "b.jsonl"):
        with pytest.raises(UserError, match=r"b\.jsonl: .* a link to gone"):
            data_files(tmp_path / "link" / what)
        with pytest.raises(UserError, match=r"b\.jsonl: this is no regular file"):
            data_files(tmp_path / "pipe" / what)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl")
    touch(tmp_path, os.fsdecode(b"caf\xe9.jsonl"))
    for what in ("", "*.jsonl"):
        with pytest.raises(UserError, match=r"caf\ufffd\.jsonl: the name of this file is not UTF-8"):
            data_files(tmp_path / what)


def test_a_folder_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "v[2]/a.jsonl", "v2/b.jsonl")
    assert named(tmp_path / "v[2]" / "*.jsonl") == ["a.jsonl"]
    assert named(tmp_path / "v[0-9]" / "*.jsonl") == ["v2/b.jsonl"]
