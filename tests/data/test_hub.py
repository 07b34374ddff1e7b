"""Rows through `datasets`, from a local folder and from a server that speaks as the hub does."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bdpo.data.formats.fields import check_text_only
from bdpo.data.hub import hub_rows, resolve_commit, stream_rows
from bdpo.data.rows import RowProblem
from bdpo.errors import UserError
from tests.hub_server import COMMIT, hub_server

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


def test_answers_that_pandas_takes_for_gaps_are_answers(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("prompt,chosen,score\nQ,None,1\nNA,null,\nR,,3\n")
    assert [row.value for row in stream_rows(str(tmp_path), commit=None, split="train")] == [
        {"prompt": "Q", "chosen": "None", "score": 1.0},
        {"prompt": "NA", "chosen": "null", "score": None},
        {"prompt": "R", "chosen": None, "score": 3.0},
    ]


def test_an_unknown_split_is_named_with_those_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"split 'valid': .*Available splits: \['train', 'test'\]"):
        list(stream_rows(str(folder), commit=None, split="valid"))


def test_a_broken_file_is_no_crash(folder: Path) -> None:
    (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1xx")
    with pytest.raises(UserError, match="the dataset cannot be read: Parquet file size is 6 bytes"):
        list(stream_rows(str(folder), commit=None, split="train"))


def test_a_dataset_that_is_a_script_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / f"{tmp_path.name}.py").write_text("")
    with pytest.raises(UserError, match="the dataset cannot be read: Dataset scripts are no longer supported"):
        list(stream_rows(str(tmp_path), commit=None, split="train"))


def test_rows_that_are_not_of_the_types_their_card_declares_are_no_crash(tmp_path: Path) -> None:
    declared = "{name: chosen, list: [{name: role, dtype: string}, {name: content, dtype: string}]}"
    (tmp_path / "README.md").write_text(f"---\ndataset_info:\n  features:\n  - {declared}\n---\n")
    message = {"role": "user", "content": "Q", "weight": 1}
    (tmp_path / "train.jsonl").write_text(json.dumps({"chosen": [message]}) + "\n")
    with pytest.raises(UserError, match="the dataset cannot be read: Couldn't cast array of type"):
        list(stream_rows(str(tmp_path), commit=None, split="train"))


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


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def card(configs: str) -> bytes:
    return f"---\nconfigs:\n{configs}---\n".encode()


def parquet(*rows: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return file.getvalue()


def media() -> bytes:
    """A row with a picture of one pixel, alone and in a list, a sound, and a list that is written as JSON."""
    kinds: dict[str, Any] = {"image": datasets.Image(), "audio": datasets.Audio(), "json": datasets.Json()}
    schema = datasets.Features(kinds | {"images": datasets.List(datasets.Image())}).arrow_schema
    picture, file = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "png")
    one = {"bytes": picture.getvalue(), "path": "x"}
    row = {"image": one, "images": [one], "audio": one, "json": '["q", {"n": 1}]'}
    pq.write_table(pa.Table.from_pylist([row], schema), file)
    return file.getvalue()


PKU = """\
- config_name: default
  data_files:
  - {split: train, path: [data/Alpaca-7B/train.jsonl, data/Alpaca2-7B/train.jsonl]}
- config_name: alpaca-7b
  data_files:
  - {split: train, path: [data/Alpaca-7B/train.jsonl]}
"""
ULTRAFEEDBACK = """\
- config_name: default
  data_files:
  - {split: train_prefs, path: data/train_prefs-*}
  - {split: test_prefs, path: data/test_prefs-*}
"""
REPOS = {
    "Anthropic/hh-rlhf": {
        "README.md": b"---\nlicense: mit\n---\n",
        "harmless-base/train.jsonl.gz": gzip.compress(lines({"chosen": "harmless", "rejected": "x"})),
        "harmless-base/test.jsonl.gz": gzip.compress(lines({"chosen": "harmless test", "rejected": "x"})),
        "helpful-base/train.jsonl.gz": gzip.compress(lines({"chosen": "helpful", "rejected": "x"})),
        "red-team-attempts/red_team_attempts.jsonl.gz": gzip.compress(lines({"transcript": "x"})),
    },
    "PKU-Alignment/PKU-SafeRLHF": {
        "README.md": card(PKU),
        "data/Alpaca-7B/train.jsonl": lines({"prompt": "7B", "better_response_id": 0}),
        "data/Alpaca2-7B/train.jsonl": lines({"prompt": "2-7B", "better_response_id": 1}),
    },
    "HuggingFaceH4/ultrafeedback_binarized": {
        "README.md": card(ULTRAFEEDBACK),
        "data/train_prefs-00000-of-00001.parquet": parquet({"prompt": "u", "score_chosen": 8.5}),
        "data/test_prefs-00000-of-00001.parquet": parquet({"prompt": "t", "score_chosen": 8.0}),
    },
    "owner/media": {"README.md": b"", "data/train-00000-of-00001.parquet": media()},
    "owner/gated": None,
}
"""Laid out as the datasets of these names are on the hub."""


DEFAULTS: dict[str, Any] = {"revision": None, "split": "train"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with hub_server(REPOS) as server, pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("hub")
        address = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        address = address.replace(huggingface_hub.constants.ENDPOINT, server.url)
        patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        patch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        patch.setattr(datasets.config, "HF_MODULES_CACHE", str(cache / "modules"))
        patch.chdir(cache)
        yield


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "which", "field", "values"),
    [
        ("Anthropic/hh-rlhf", {"data_dir": "harmless-base"}, "chosen", ["harmless"]),
        ("Anthropic/hh-rlhf", {"data_dir": "harmless-base", "split": "test"}, "chosen", ["harmless test"]),
        ("Anthropic/hh-rlhf", {}, "chosen", ["harmless", "helpful"]),
        ("PKU-Alignment/PKU-SafeRLHF", {}, "prompt", ["7B", "2-7B"]),
        ("PKU-Alignment/PKU-SafeRLHF", {"subset": "alpaca-7b", "revision": COMMIT}, "prompt", ["7B"]),
        ("HuggingFaceH4/ultrafeedback_binarized", {"split": "train_prefs"}, "prompt", ["u"]),
    ],
)
def test_the_datasets_that_people_use(name: str, which: dict[str, Any], field: str, values: list[str]) -> None:
    rows = [row.value for row in hub_rows(name, **DEFAULTS | which)]
    assert [row[field] for row in rows if isinstance(row, dict)] == values


@pytest.mark.usefixtures("hub")
def test_pictures_and_sound_are_bytes_that_print_alike_in_every_run() -> None:
    first, again = (list(hub_rows("owner/media", **DEFAULTS)) for _ in range(2))
    assert [row.raw for row in first] == [row.raw for row in again]
    assert isinstance(first[0].value, dict)
    assert first[0].value["json"] == ["q", {"n": 1}]
    assert first[0].value["images"] == [first[0].value["image"]]
    for name in ("image", "images", "audio"):
        with pytest.raises(RowProblem, match=f"the row has `{name}`"):
            check_text_only({name: first[0].value[name]})


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "which", "sentence"),
    [
        ("owner/missing", {}, "the hub has no such dataset, or it is private and needs the token .* \\(HF_TOKEN\\)\\."),
        ("Anthropic/hh-rlhf", {"revision": "v9"}, "the dataset has no revision 'v9'\\."),
        (
            "Anthropic/hh-rlhf",
            {"revision": "b" * 40},
            "the dataset cannot be read: Revision 'b+' doesn't exist",
        ),
        ("owner/gated", {}, "accept its terms at https://huggingface.co/datasets/owner/gated and set HF_TOKEN"),
        ("HuggingFaceH4/ultrafeedback_binarized", {}, r"Available splits: \['train_prefs', 'test_prefs'\]\.$"),
        ("PKU-Alignment/PKU-SafeRLHF", {"subset": "7b"}, r"'7b' not found\. Available: \['default', 'alpaca-7b'\]\.$"),
        ("Anthropic/hh-rlhf", {"data_dir": "harmful"}, "data_dir 'harmful': the dataset cannot be read: The directory"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(name: str, which: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^hub '{name}'.*{sentence}") as error:
        list(hub_rows(name, **DEFAULTS | which))
    assert "\n" not in str(error.value)
