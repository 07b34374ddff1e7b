"""Models whose linear layers are held in 4 bits, the one place that imports bitsandbytes."""

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from bdpo.errors import UserError
from bdpo.packages import importing

_MOST_WHOLE = 1 / 3
"""Largest share of a model's weights, embeddings apart, that a 4-bit model may hold in 16 bits."""


def four_bit_config(dtype: str) -> BitsAndBytesConfig:
    """NormalFloat weights with double quantisation, as QLoRA has them (arXiv 2305.14314, section 3).

    Raises:
        UserError: `bitsandbytes` is not installed.
    """
    with importing("model.quantization", "bitsandbytes"):
        import bitsandbytes  # noqa: F401
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def require_four_bits(model: PreTrainedModel) -> None:
    """Refuse a model of which most stays in 16 bits: bitsandbytes packs linear layers, and experts are none.

    `transformers` holds all experts of a layer in one tensor of three dimensions.

    Args:
        model: loaded with `four_bit_config`.

    Raises:
        UserError: more than a third of its weights are not packed, embeddings and the output layer apart.
    """
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    apart = {id(p) for module in (*embeddings, model.get_output_embeddings()) for p in module.parameters()}
    whole = packed = 0
    for p in model.parameters():
        if type(p).__name__ == "Params4bit":
            packed += 2 * p.numel() * p.element_size()  # two weights a byte
        elif id(p) not in apart:
            whole += p.numel()
    if whole > _MOST_WHOLE * (whole + packed):
        raise UserError(
            f"model.quantization nf4: {whole / 1e9:.3g} of {(whole + packed) / 1e9:.3g} billion weights of the model "
            f"({model.config.model_type}), embeddings apart, would stay in 16 bits, for bitsandbytes packs linear "
            "layers and no experts: take it out, or name a model without experts."
        )


def keep_layout(model: nn.Module) -> None:
    """Have every pass of a 4-bit model multiply alike.

    On some CPUs bitsandbytes packs the weights of a layer anew when it meets an input without a gradient, and
    multiplies those by another kernel: the reference would round otherwise than the policy does.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def dequantized(model: PreTrainedModel) -> PreTrainedModel:
    """A 4-bit model as a plain one in float32 on the CPU, with the very weights that it multiplies by.

    The model itself is changed, a layer at a time: a GPU with room for 4 bits a weight need not have it for 32.
    """
    from bitsandbytes.nn import Linear4bit
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    for name, layer in list(model.named_modules()):
        if isinstance(layer, Linear4bit):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            plain.weight = nn.Parameter(dequantize_bnb_weight(layer.weight).float().cpu(), requires_grad=False)
            plain.bias = layer.bias
            model.set_submodule(name, plain)
    model.hf_quantizer.remove_quantization_config(model)
    on_cpu: PreTrainedModel = model.cpu().float()
    return on_cpu
