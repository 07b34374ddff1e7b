"""What the stage says before it starts its processes."""

from pathlib import Path
from typing import Any

import pytest

from bdpo.training.stage import train as train_stage
from tests.said import Said
from tests.training.stage_runs import pipeline


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
        train_stage(
            settings=work.config.train,
            model=work.config.model,
            source=work.source,
            pairs=folder,
            scores=None,
            workdir=tmp_path / "work",
            progress=said,
        )
    return said.texts


def test_the_device(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_before_launch(config, tmp_path, monkeypatch).count("train: on the CPU") == 1
