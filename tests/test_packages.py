"""Optional packages that are missing or not whole."""

import sys
from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.packages import importing, require_package


def test_a_package_is_looked_for_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "peft", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "peft.py").write_text("raise AssertionError('imported')")
    require_package("train.lora", "peft")
    (tmp_path / "peft.py").unlink()
    sys.path_importer_cache.clear()
    with pytest.raises(UserError) as refused:
        require_package("train.lora", "peft")
    assert str(refused.value) == (
        "train.lora needs the package peft, which is not installed: `pip install peft`, or change it."
    )


def test_one_that_is_not_whole_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of vllm on a machine without the libraries that it was built for."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    (tmp_path / "vllm.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    with (
        pytest.raises(UserError, match=r"needs the package vllm, which cannot be imported \(libcudart\.so\.13: cannot"),
        importing("evaluate.engine", "vllm"),
    ):
        import vllm  # noqa: F401
