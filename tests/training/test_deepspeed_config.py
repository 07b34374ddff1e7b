"""A user's DeepSpeed file: what it may say, and what the run's own settings decide."""

import json
from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.training.deepspeed_config import read_deepspeed_config
from tests.paths import ROOT


def write(folder: Path, value: object) -> Path:
    path = folder / "ds.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_the_files_of_the_project_are_what_they_are_called() -> None:
    files = sorted((ROOT / "configs" / "deepspeed").glob("zero[0-9].json"))
    stages = [read_deepspeed_config(path, world=1)["zero_optimization"]["stage"] for path in files]
    assert stages == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name", ["train_batch_size", "gradient_accumulation_steps", "gradient_clipping", "optimizer", "scheduler", "bf16"]
)
def test_what_the_settings_own_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, {name: 1, "zero_optimization": {"stage": 1}})
    with pytest.raises(UserError, match=f"ds.json: field `{name}` is decided by "):
        read_deepspeed_config(path, world=1)


@pytest.mark.parametrize("text", ["{", "[1]", "7"])
def test_what_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"ds.json: not a DeepSpeed config: .*a JSON object is expected"):
        read_deepspeed_config(write(tmp_path, text), world=1)


def test_without_a_file_several_processes_share_the_optimizer() -> None:
    assert [read_deepspeed_config(None, world=n)["zero_optimization"]["stage"] for n in (1, 2)] == [0, 1]


@pytest.mark.parametrize(
    ("zero", "message"),
    [
        ({"stage": 4}, r"field `zero_optimization.stage`: 4 is none of ZeRO's stages 0, 1, 2 and 3"),
        ({"stage": "2"}, r"field `zero_optimization.stage`: '2' is none of"),
        ({"stage": True}, r"field `zero_optimization.stage`: True is none of"),
        ([2], r"field `zero_optimization`: {'stage': 2} or the like is expected, not \[2\]"),
    ],
)
def test_what_is_no_stage_is_refused(tmp_path: Path, zero: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_deepspeed_config(write(tmp_path, {"zero_optimization": zero}), world=1)
