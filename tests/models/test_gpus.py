"""GPUs that are there and cannot be used end a run; none, or hidden ones, mean the CPU."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bdpo.config import ModelSettings
from bdpo.errors import UserError
from bdpo.models.gpus import count_gpus, shown_device
from bdpo.models.loading import load_for_inference
from bdpo.models.source import resolve_model
from bdpo.scoring.parallel import ScoreJob, score_in_processes
from bdpo.training.devices import training_devices
from tests.tiny import save_tiny, tiny_model


@pytest.fixture
def _old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch finds then: NVIDIA's library counts the GPUs, CUDA does not start."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def scoring(folder: Path) -> None:
    source, model = resolve_model(str(folder)), ModelSettings(path=str(folder))
    asked: dict[str, Any] = {"token_budget": 8, "shard_sequences": 1, "processes": 2}
    job = ScoreJob(sequences=folder / "s.parquet", shards=folder, source=source, model=model, **asked)
    score_in_processes({}, job, folder, scored=lambda _: None, kept=lambda _: None)


@pytest.mark.usefixtures("_old_driver")
@pytest.mark.parametrize(
    "begin",
    [
        lambda folder: load_for_inference(resolve_model(str(folder)), dtype="float32"),
        scoring,
        lambda _: training_devices(1, alone=True),
    ],
)
def test_gpus_that_torch_cannot_use_are_not_replaced_by_the_cpu(tmp_path: Path, begin: Any) -> None:
    said = f"8 GPUs are seen, and torch {torch.__version__}, made for CUDA {torch.version.cuda}, cannot use them: most"
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        begin(save_tiny(tmp_path / "model"))
    assert "CUDA 13 wants 580 or newer" in str(raised.value)
    assert "export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu129" in str(raised.value)


def test_gpus_that_torch_can_use_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert count_gpus() == 8


def test_hidden_gpus_mean_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `CUDA_VISIBLE_DEVICES=` hides them: of no device NVIDIA's library is not even asked."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert count_gpus() == 0


def test_what_a_model_is_on() -> None:
    assert shown_device(tiny_model()) == "the CPU"
    assert shown_device(tiny_model().to("meta")) == "meta"
