"""The converted model is used whole or made again.  What is fetched and converted here is a tiny stand-in."""

import shutil
from pathlib import Path

import pytest

from bdpo.models import embedded
from tests.tiny import save_tiny


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where each conversion put its result."""
    monkeypatch.setenv("BDPO_CACHE", str(tmp_path / "cache"))
    folders: list[Path] = []
    tiny = save_tiny(tmp_path / "tiny")

    def convert(gguf: Path, folder: Path) -> None:
        folders.append(folder)
        shutil.copytree(tiny, folder)

    monkeypatch.setattr(embedded, "_fetch", lambda scratch: scratch / "model.gguf")
    monkeypatch.setattr(embedded, "_convert", convert)
    return folders


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_model_is_made_again(made: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = embedded.embedded_model()
    weights = (folder / "model.safetensors").read_bytes()
    assert embedded.embedded_model() == folder
    assert len(made) == 1
    flip(folder / "model.safetensors")
    assert embedded.embedded_model() == folder
    assert (folder / "model.safetensors").read_bytes() == weights
    assert "model.safetensors was altered; the embedded model is fetched and converted again" in caplog.text
    (folder / "tokenizer.json").unlink()
    embedded.embedded_model()
    flip(folder / "digests.json")
    embedded.embedded_model()
    (folder / "digests.json").unlink()  # as one that was converted before digests were noted
    embedded.embedded_model()
    assert len(made) == 5
    assert embedded.embedded_model() == folder
    assert len(made) == 5
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
