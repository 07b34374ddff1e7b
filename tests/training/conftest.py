"""What the tests of the stage begin with."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bdpo.pipeline import StageResult
from tests.tiny_run import tiny_run
from tests.training.stage_runs import TRAIN, Run, pipeline, train


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages before training are done."""
    folder = tmp_path_factory.mktemp("scored")
    work = pipeline(tiny_run(folder, train=TRAIN))
    work.run_stage("ingest")
    work.run_stage("score")
    return folder


@pytest.fixture
def config(scored: Path, tmp_path: Path) -> Path:
    """A config in a copy of that folder."""
    shutil.copytree(scored, tmp_path / "run")
    return tmp_path / "run" / "config.yaml"


@pytest.fixture(scope="session")
def undisturbed(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    """A training that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(scored, folder / "run")
    return train(folder / "run" / "config.yaml")


@pytest.fixture
def run(config: Path) -> Iterator[Any]:
    """Starts runs, and leaves no parent behind."""
    started: list[Run] = []

    def start(*overrides: str) -> Run:
        started.append(Run(config, *overrides))
        return started[-1]

    yield start
    for one in started:
        if one.parent.poll() is None:
            os.kill(one.parent.pid, signal.SIGKILL)
            one.parent.wait()
