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
    """A 4-bit model as a plain one in float32, with the very weights that it multiplies by; it is changed itself."""
    plain: PreTrainedModel = model.dequantize().float()
    return plain
