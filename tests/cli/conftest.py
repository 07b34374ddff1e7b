"""What the tests of commands share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Prefect's own files, so that nothing of the user's is touched."""
    return tmp_path_factory.mktemp("home")
