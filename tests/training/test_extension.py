"""The mark that PyTorch leaves while it builds an extension: respected while it may be alive, never for ever."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from bdpo.training.extension import clear_mark, own_builds


def test_no_mark_is_not_waited_for(tmp_path: Path) -> None:
    started = time.monotonic()
    clear_mark(tmp_path / "lock", 60)
    assert time.monotonic() - started < 30


def test_a_mark_of_a_killed_build_is_removed_at_once(tmp_path: Path) -> None:
    mark = tmp_path / "lock"
    mark.touch()
    os.utime(mark, (time.time() - 61,) * 2)
    started = time.monotonic()
    clear_mark(mark, 60)
    assert not mark.exists()
    assert time.monotonic() - started < 30


def test_a_build_under_way_is_waited_for(tmp_path: Path) -> None:
    mark = tmp_path / "lock"
    mark.touch()
    removed: list[bool] = []

    def finish() -> None:
        removed.append(mark.exists())
        mark.unlink()

    build = threading.Timer(0.5, finish)
    build.start()
    clear_mark(mark, 60)
    build.join()
    assert removed == [True], "it was there until its own build ended"


def test_a_mark_from_the_future_is_waited_for_no_longer(tmp_path: Path) -> None:
    """As a clock that jumped back leaves it."""
    mark = tmp_path / "lock"
    mark.touch()
    os.utime(mark, (time.time() + 3600,) * 2)
    clear_mark(mark, 0.3)
    assert not mark.exists()


def test_virtual_environments_do_not_build_into_each_others_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    here = own_builds()
    assert own_builds() == here
    monkeypatch.setattr(sys, "prefix", "/another/environment")
    assert own_builds() != here
    assert own_builds().parent == here.parent
