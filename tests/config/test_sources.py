"""What a source may say, and the sentence for what it may not."""

from pathlib import Path
from typing import Any

import pytest

from bdpo.config import load_config
from bdpo.errors import UserError

HEAD = "name: x\nevaluate: {benchmarks: [{path: p}]}\n"


def load(folder: Path, ingest: str) -> Any:
    (folder / "c.yaml").write_text(f"{HEAD}ingest: {ingest}\n")
    return load_config(folder / "c.yaml").ingest


def test_files_globs_columns_and_hub_datasets(tmp_path: Path) -> None:
    ingest = load(
        tmp_path,
        "{sources: [{path: 'data/*.jsonl', weight: 0.5, columns: {prompt: question, chosen: good}}, "
        "{hub: owner/name, revision: v1, split: test, format: beavertails}], sample: {safe: 2, unsafe: 3}}",
    )
    first, second = ingest.sources
    assert first.path == tmp_path / "data" / "*.jsonl"
    assert (first.weight, first.columns.prompt, first.columns.rejected) == (0.5, "question", "rejected")
    assert (second.hub, second.revision, second.split, second.path) == ("owner/name", "v1", "test", None)
    assert (ingest.sample.safe, ingest.sample.unsafe) == (2, 3)


@pytest.mark.parametrize(
    ("ingest", "message"),
    [
        ("{sources: [{limit: 3}]}", "a source has either a `path` or a `hub` dataset"),
        ("{sources: [{path: a, hub: b}]}", "a source has either a `path` or a `hub` dataset"),
        ("{sources: [{path: a, split: test}]}", "`split` is for a `hub` dataset only"),
        ("{sources: [{path: a, revision: v1}]}", "`revision` is for a `hub` dataset only"),
        ("{sources: [{path: a, subset: x}]}", "`subset` is for a `hub` dataset only"),
        ("{sources: [{path: a, data_dir: x}]}", "`data_dir` is for a `hub` dataset only"),
        ("{sources: [{hub: ./folder}]}", "field `ingest.sources.0.hub`: './folder' is no name of a hub dataset"),
        ("{sources: [{path: a, weight: 2}]}", "field `ingest.sources.0.weight`: the value 2 is wrong"),
        ("{sources: [{path: a, weight: 0}]}", "field `ingest.sources.0.weight`: the value 0 is wrong"),
        ("{sources: [{path: a, format: hh, columns: {chosen: x}}]}", "remove it, or `format: hh`"),
        ("{sources: [{path: a, columns: {chosn: x}}]}", "did you mean `chosen`?"),
        ("{sources: [{path: a, columns: {chosen: rejected}}]}", "both name the column 'rejected'"),
        ("{sources: [{path: a, format: parquet}]}", "field `ingest.sources.0.format`: the value 'parquet' is wrong"),
        ("{sources: [{path: a}], sample: {safe: 1}}", "field `ingest.sample.unsafe` is missing"),
        ("{sources: [{path: a}], sample: {safe: 0, unsafe: 0}}", "a sample of no safe and no unsafe prompts is empty"),
    ],
)
def test_what_a_source_may_not_say(tmp_path: Path, ingest: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, ingest)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "c.yaml"))


def test_a_link_keeps_its_name_for_the_name_tells_the_kind(tmp_path: Path) -> None:
    """As in the hub's cache: `train.parquet` points at a file that is called by its digest."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a1b").write_text("x")
    (tmp_path / "train.parquet").symlink_to(tmp_path / "blobs" / "0a1b")
    (tmp_path / "folder").symlink_to(tmp_path / "blobs")
    ingest = load(tmp_path, "{sources: [{path: train.parquet}, {path: folder/0a1b}, {path: folder/..}]}")
    assert [source.path for source in ingest.sources] == [
        tmp_path / "train.parquet",
        tmp_path / "blobs" / "0a1b",
        tmp_path,
    ]
