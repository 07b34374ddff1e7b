"""What the stage says before it starts its processes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.said import Said
from tests.training.stage_runs import pipeline, train_on


class _LaunchedError(Exception):
    pass


def _launch(*_: Any, **__: Any) -> None:
    raise _LaunchedError


def said_before_launch(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> list[str]:
    work = pipeline(config, "train.method=simpo", *overrides)
    folder = next(planned.folder for planned in work.plan() if planned.stage == "ingest")
    said = Said()
    (tmp_path / "work" / "scratch").mkdir(parents=True)
    monkeypatch.setattr("bdpo.training.stage.launch", _launch)
    with pytest.raises(_LaunchedError):
        train_on(work, folder, tmp_path / "work", said)
    return said.texts


def test_the_device(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_before_launch(config, tmp_path, monkeypatch).count("train: on the CPU") == 1


@pytest.mark.parametrize(
    ("overrides", "times"),
    [
        (["train.lora.rank=4"], 1),
        (["train.lora.rank=4", "train.learning_rate=5e-7"], 0),  # the very default, chosen
        ([], 0),
    ],
)
def test_that_adapters_have_the_learning_rate_of_all_weights(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], times: int
) -> None:
    values = yaml.safe_load(config.read_text())
    del values["train"]["learning_rate"]
    config.write_text(yaml.safe_dump(values))
    monkeypatch.setattr("bdpo.training.stage.require_package", lambda *_: None)
    said = said_before_launch(config, tmp_path, monkeypatch, *overrides)
    assert [line for line in said if "learning rate" in line] == times * [
        "train: the learning rate is 5e-07, the default, which is for all weights; adapters (train.lora) want some ten "
        "times as much: 5e-6 to 2e-5 in train.learning_rate"
    ]
