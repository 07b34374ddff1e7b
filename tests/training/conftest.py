"""What the tests of the stage begin with."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bdpo.pipeline import StageResult
from tests.tiny_run import tiny_run
from tests.training.stage_runs import TRAIN, Run, pipeline, train


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """A folder that the first to want it fills for all processes of this session, as pytest-xdist has it done."""
    base = factory.getbasetemp()
    # Without other processes the folder above is that of all sessions.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = Path(f"{folder}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            partial.rename(folder)
    return folder


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages before training are done."""

    def fill(folder: Path) -> None:
        work = pipeline(tiny_run(folder, train=TRAIN))
        work.run_stage("ingest")
        work.run_stage("score")

    return once(tmp_path_factory, "scored", fill)


@pytest.fixture
def config(scored: Path, tmp_path: Path) -> Path:
    """A config in a copy of that folder."""
    shutil.copytree(scored, tmp_path / "run")
    return tmp_path / "run" / "config.yaml"


@pytest.fixture(scope="session")
def undisturbed(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    """A training that nobody disturbs."""

    def fill(folder: Path) -> None:
        shutil.copytree(scored, folder / "run")
        train(folder / "run" / "config.yaml")

    return train(once(tmp_path_factory, "undisturbed", fill) / "run" / "config.yaml")


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
