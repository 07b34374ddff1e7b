"""Models whose linear layers are held in 4 bits, the one place that imports bitsandbytes."""

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from bdpo.packages import importing


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
