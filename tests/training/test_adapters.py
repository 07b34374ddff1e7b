"""Adapters, on plain and on 4-bit weights: trained, merged, kept, carried on."""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from transformers import AutoModelForCausalLM

from bdpo.errors import UserError
from bdpo.models.loading import load_model
from bdpo.progress import Silent
from tests.paths import ROOT
from tests.training.stage_runs import metric, pipeline, same, train


@pytest.mark.slow
def test_adapters_are_trained_merged_and_kept(config: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    result = train(config, "train.lora.rank=4", "train.learning_rate=5e-3")
    assert metric(result, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert metric(result, "eval_loss")[-1] < math.log(2)
    merged = AutoModelForCausalLM.from_pretrained(result.artifact / "policy")
    base = AutoModelForCausalLM.from_pretrained(config.parent / "model")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        found, start = (model(ids).logits.log_softmax(-1) for model in (merged, base))
        adapter = result.artifact / "adapter"
        beside = peft.AutoPeftModelForCausalLM.from_pretrained(adapter, dtype="float32")(ids).logits.log_softmax(-1)
    assert (found - start).abs().max() > 1e-2
    assert (found - beside).abs().max() < 1e-4
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        config.parent / "model"
    )


@pytest.mark.slow
def test_adapters_are_merged_into_no_other_weights_than_they_were_trained_on(config: Path) -> None:
    """The base is read again at the end; put back, it is merged into without another step."""
    pytest.importorskip("peft", reason="peft is not installed")
    weights = config.parent / "model" / "model.safetensors"
    content = weights.read_bytes()

    class Editing(Silent):
        def advance(self, pieces: int = 1, **figures: float) -> None:
            save_file({name: tensor + 1 for name, tensor in load(content).items()}, weights, {"format": "pt"})

    lora = ("train.lora.rank=4", "train.max_steps=2")
    with pytest.raises(UserError, match=r"Stage train is given up: model weights: the content .* put them back"):
        pipeline(config, *lora).run_stage("train", progress=Editing())
    weights.write_bytes(content)
    result = pipeline(config, *lora).run_stage("train")
    assert result.summary["resumed_from_step"] == 2
    name = "model.embed_tokens.weight"
    assert load_file(result.artifact / "policy" / "model.safetensors")[name].equal(load(content)[name])


QLORA = ("model.dtype=bfloat16", "model.quantization=nf4", "train.lora.rank=4", "train.learning_rate=5e-3")


@pytest.mark.slow
def test_adapters_on_four_bit_weights_are_merged_into_what_was_trained(config: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    result = train(config, *QLORA)
    # The reference is the 4-bit model too, so that every log-ratio begins at 0.
    assert metric(result, "loss")[0] == pytest.approx(math.log(2), abs=1e-3)
    assert metric(result, "eval_loss")[-1] < math.log(2) - 0.01
    policy = result.artifact / "policy"
    assert "quantization_config" not in json.loads((policy / "config.json").read_text())
    assert "merged into the model's nf4 weights" in (policy / "README.md").read_text()
    merged = AutoModelForCausalLM.from_pretrained(policy)
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    full, four_bit = (load_model(config.parent / "model", dtype="bfloat16", quantization=q) for q in (None, "nf4"))
    ids = torch.arange(3, 100)[None]
    with torch.no_grad():
        found, plain, start = (m(ids).logits.float().log_softmax(-1) for m in (merged, full, four_bit))
        trained = peft.PeftModel.from_pretrained(four_bit, result.artifact / "adapter")
        beside = trained(ids).logits.float().log_softmax(-1)
    rounding = (found - beside).abs().mean()
    assert rounding < 0.02
    assert rounding < 0.2 * (start - plain).abs().mean(), "merged into the weights before they were quantised"
    assert rounding < 0.2 * (found - start).abs().mean()


@pytest.mark.slow
def test_four_bit_training_killed_carries_on(run: Any, config: Path) -> None:
    """Checkpoints hold what is trained alone."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    pipeline(config, *QLORA).run_stage("score")
    shutil.copytree(config.parent, config.parent.parent / "other")
    expected = train(config.parent.parent / "other" / "config.yaml", *QLORA)
    once = run(*QLORA)
    once.wait_for(lambda: once.steps() >= 10, "step 10")
    once.kill("worker")
    assert same(train(config, *QLORA), expected)


@pytest.mark.slow
def test_four_bit_weights_are_not_shared_out(config: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    with pytest.raises(UserError, match=r"zero3.json: ZeRO stage 3 cannot share out the weights of model.quantization"):
        train(config, *QLORA, f"train.deepspeed={ROOT}/configs/deepspeed/zero3.json")


def test_adapters_without_peft_are_refused_before_any_work(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"^train\.lora needs the package peft, which is not installed: `pip"):
        train(config, "train.lora.rank=4")
    begun = (config.parent / "artifacts" / "train").glob("*/scratch/*")
    assert [path.name for path in begun] == ["inputs.json"], "nothing but what a workspace begins with"
