"""Settings of the whole suite."""

import os

# Before torch is imported, and for all processes that tests start: they compare bits, and score and train on as many
# devices as they name.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import gc
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import settings

# A busy machine makes single examples slow; the suite has its own time limit.
settings.register_profile("bdpo", deadline=None)
settings.load_profile("bdpo")


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trainings of tests that run side by side do not wait for each other's device."""
    tempfile.tempdir = os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("tmp"))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Commands that tests interrupt would inherit that it is ignored, as a shell has it for what runs behind it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _short_collections() -> None:
    """Each stage ends in a collection, which would look at the hundreds of thousands of objects of all imports."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def memory() -> Iterator[Any]:
    """Fsspec's file system in memory, empty; `memory://` leads to it."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Prefect's own files, so that nothing of the user's is touched."""
    return tmp_path_factory.mktemp("home")
