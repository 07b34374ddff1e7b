"""Linear layers in 4 bits, for real where bitsandbytes is installed."""

import sys
from pathlib import Path

import pytest
import torch

from bdpo.errors import UserError
from bdpo.models.loading import load_model
from bdpo.models.quantized import dequantized, require_four_bits
from tests.tiny import save_tiny, tiny_model


def test_without_bitsandbytes_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"^model\.quantization needs the package bitsandbytes, which is not installed"):
        load_model(tmp_path / "there is no model", dtype="bfloat16", quantization="nf4")


class Params4bit(torch.nn.Parameter):
    """As bitsandbytes has them: two weights a byte."""


@pytest.mark.parametrize(
    ("architecture", "refused"),
    [("llama", None), ("gemma3_text", None), ("qwen2_moe", r"\S+ of \S+"), ("deepseek_v3", r"\S+ of \S+")],
)
def test_a_model_that_stays_in_sixteen_bits_is_refused(architecture: str, refused: str | None) -> None:
    """Its linear layers packed by a stand-in, which as the real one knows no experts."""
    model = tiny_model(architecture, vocab_size=4096).bfloat16()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
            packed = torch.zeros(module.weight.numel() // 2, 1, dtype=torch.uint8)
            module.weight = Params4bit(packed, requires_grad=False)
    if refused is None:
        require_four_bits(model)
        return
    with pytest.raises(
        UserError, match=rf"^model\.quantization nf4: {refused} billion weights of the model \({architecture}"
    ):
        require_four_bits(model)


@pytest.mark.slow
def test_a_four_bit_model_multiplies_alike_with_and_without_gradients(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    model = load_model(save_tiny(tmp_path / "model"), dtype="bfloat16", quantization="nf4")
    full = load_model(tmp_path / "model", dtype="bfloat16")
    ids = torch.arange(3, 40)[None]
    embedded = model.get_input_embeddings()(ids).detach()
    with torch.no_grad():
        plain = model(inputs_embeds=embedded).logits
    differentiable = model(inputs_embeds=embedded.requires_grad_()).logits
    assert plain.equal(differentiable.detach())
    quantised = (plain - full(ids).logits).abs().mean()
    assert quantised > 0.02
    whole = dequantized(model)
    assert {(p.dtype, p.device.type) for p in whole.parameters()} == {(torch.float32, "cpu")}
    assert not hasattr(whole.config, "quantization_config")
    with torch.no_grad():
        same = whole.bfloat16()(ids).logits
    assert (same - plain).abs().mean() < 0.2 * quantised
    assert not any(type(module).__name__ == "Linear4bit" for module in model.modules())
