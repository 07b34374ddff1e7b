"""Where tests find real data that is not part of the project."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def shared_data(relative: str) -> Path:
    """A real data file, or a skip that says which one is missing."""
    path = SHARED_DATA / relative
    if not path.exists():
        pytest.skip(f"real data is not on this machine: ../shared/data/{relative}")
    return path
