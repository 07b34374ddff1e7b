"""A user's DeepSpeed file: what it may say, and what the run's own settings decide."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bdpo.errors import UserError
from bdpo.training.deepspeed_config import _FREE, _OWNED, read_deepspeed_config
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
    "name",
    [
        *("train_batch_size", "gradient_accumulation_steps", "gradient_clipping", "optimizer", "scheduler", "bf16"),
        *("gradient_allreduce_op", "managed_gradient_accumulation"),
    ],
)
def test_what_the_settings_own_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, {name: 1, "zero_optimization": {"stage": 1}})
    with pytest.raises(UserError, match=f"ds.json: field `{name}` is decided by "):
        read_deepspeed_config(path, world=1)


@pytest.mark.parametrize(
    ("name", "field", "decides"),
    [
        ("zero_optimization", "compute_grad_norm", r"train\.max_grad_norm"),
        # Master weights would begin anew at the rounded ones after each restart.
        ("zero_optimization", "load_from_fp32_weights", "how a training is carried on"),
        ("checkpoint", "load_universal", "how a training is carried on"),
    ],
)
def test_what_they_own_within_another_field_too(tmp_path: Path, name: str, field: str, decides: str) -> None:
    path = write(tmp_path, {name: {field: True}})
    with pytest.raises(UserError, match=rf"field `{name}\.{field}` is decided by {decides}; remove it from this file"):
        read_deepspeed_config(path, world=1)
    assert read_deepspeed_config(write(tmp_path, {name: {}}), world=1) == {name: {}}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zero_optimisation", r"; did you mean `zero_optimization`\?"),
        ("Zero_Optimization", r"; did you mean `zero_optimization`\?"),
        ("nebula", r": remove it\."),
    ],
)
def test_what_deepspeed_does_not_read_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """It would say nothing, and share out nothing."""
    path = write(tmp_path, {name: {"stage": 2}})
    with pytest.raises(UserError, match=rf"ds\.json: field `{name}` is none that DeepSpeed reads{said}$"):
        read_deepspeed_config(path, world=1)


class Names(list[str]):
    """Notes which names are looked for."""

    def __init__(self, names: Iterable[str], asked: set[str]) -> None:
        super().__init__(names)
        self.asked = asked

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


class Asked(dict[str, Any]):
    """A config that notes what is asked of it, in its copies too."""

    asked: ClassVar[set[str]] = set()

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def keys(self) -> Any:
        return Names(super().keys(), self.asked)


def test_the_fields_that_may_be_set_are_those_that_the_installed_deepspeed_reads() -> None:
    from deepspeed.runtime.config import _REMOVED_TOP_LEVEL_CONFIG_KEYS, DeepSpeedConfig

    DeepSpeedConfig(Asked(train_micro_batch_size_per_gpu=1))
    assert Asked.asked - _REMOVED_TOP_LEVEL_CONFIG_KEYS.keys() - _OWNED.keys() == _FREE


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
