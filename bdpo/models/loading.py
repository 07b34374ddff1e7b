"""Loading a model and its tokenizer from a folder."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Mxfp4Config, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from bdpo.config.model import ModelSettings
from bdpo.errors import UserError, first_line
from bdpo.models.gpus import count_gpus
from bdpo.models.products import prepare_bfloat16_products
from bdpo.models.quantized import four_bit_config, keep_layout, require_four_bits
from bdpo.models.source import ModelSource, look_again, stored_quantization, weight_files

_SCALE = re.compile(r"(weight_scale(_inv|_2)?|\.scales|\.qzeros)$")
"""Names of what quantised weights are multiplied by, or moved by."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(
    folder: Path, *, trust_remote_code: bool = False, needs_template: bool = True
) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        folder: holds its files.
        trust_remote_code: run Python code that comes with it.
        needs_template: whether it must have a chat template.

    Raises:
        UserError: it cannot be read, as one of SentencePiece's where that is not installed, or lacks a chat template
            that it needs.
    """
    try:
        # With mistral_common, which vLLM asks for, `transformers` prefers Mistral's own files where they lie beside
        # those of the tokenizer, and such a tokenizer has no chat template.
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, mistral_format=False)
    except Exception as error:
        # `tokenizers` raises bare exceptions for files that it does not understand.
        why = _NO_SENTENCEPIECE if _wants_sentencepiece(folder) else first_line(error)
        raise UserError(f"The tokenizer in {folder} cannot be loaded: {why}") from error
    if needs_template:
        template = getattr(tokenizer, "chat_template", None)
        if not template:
            raise UserError(
                f"The tokenizer in {folder} has no chat template; use an instruct model, or put chat_template.jinja "
                "there."
            )
        if isinstance(template, dict) and "default" not in template:
            raise UserError(
                f"The tokenizer in {folder} has the chat templates {', '.join(sorted(template))} and none by the name "
                "of default, which is the one that is used; save it with one."
            )
    return tokenizer


_NO_SENTENCEPIECE = (
    "it has no tokenizer.json, and its tokenizer.model wants the package sentencepiece, which is not installed: "
    "`pip install sentencepiece`."
)


def _wants_sentencepiece(folder: Path) -> bool:
    """Whether that is what a tokenizer lacks; `transformers` takes its file for one of tiktoken's then, and says so."""
    file = folder / "tokenizer.model"
    if find_spec("sentencepiece") is not None or (folder / "tokenizer.json").is_file() or not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(1) == b"\n"  # its first piece; a file of tiktoken's begins with a token in base64


def load_model(
    folder: Path,
    *,
    dtype: str,
    attention: str = "sdpa",
    trust_remote_code: bool = False,
    quantization: str | None = None,
    device_map: str | dict[str, str] | None = None,
) -> PreTrainedModel:
    """Load a causal language model from safetensors, in eval mode (no dropout).

    Args:
        folder: holds `config.json` and `*.safetensors`.
        dtype: `float32` or `bfloat16`, of weights and arithmetic.
        attention: attention implementation of `transformers`.
        trust_remote_code: run Python code that comes with the model.
        quantization: `nf4` holds linear layers in 4 bits; with a GPU the model is then on it.
        device_map: where `accelerate` puts which part, read from disk one by one; on the CPU by default.

    Raises:
        UserError: it cannot be read, weights are missing from its files, `bitsandbytes` is not installed, or it packs
            too little of the model.
    """
    if dtype == "bfloat16":
        prepare_bfloat16_products()
    # cuDNN, which PyTorch prefers on Hopper and later, builds a plan for every new pair of lengths, in tens of
    # milliseconds, and packed rows bring new ones with every pass.
    torch.backends.cuda.enable_cudnn_sdp(False)
    quantized: dict[str, Any] = {}
    if quantization is not None:
        quantized = {"quantization_config": four_bit_config(dtype)}
    elif stored_quantization(folder) == "mxfp4":
        quantized = {"quantization_config": Mxfp4Config(dequantize=True)}  # no gradient passes its own kernels
    logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_DTYPES[dtype],
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            device_map=device_map,
            **quantized,
        )
    except Exception as error:
        if attention == "sdpa" and "does not support an attention implementation" in str(error):
            raise UserError(f"The model in {folder} has no SDPA attention: set model.attention=eager.") from error
        # safetensors raises a type of its own for a truncated file, transformers several others.
        raise UserError(f"The model in {folder} cannot be loaded: {first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"The model in {folder} lacks {len(missing)} weights that its config asks for, the first is {missing[0]!r}."
        )
    scales = sorted(key for key in report["unexpected_keys"] if _SCALE.search(key))
    if scales:
        raise UserError(
            f"The model in {folder} has quantised weights of a kind that is not understood here ({scales[0]!r} would "
            "be left out); use the model that it was made from."
        )
    model.eval()
    if quantization is not None:
        require_four_bits(model)
        keep_layout(model)
    return model


def load_reference(source: ModelSource, settings: ModelSettings) -> PreTrainedModel:
    """`load_for_inference` as a run's settings have it."""
    return load_for_inference(
        source, dtype=settings.dtype, attention=settings.attention, trust_remote_code=settings.trust_remote_code
    )


def load_for_inference(
    source: ModelSource, *, dtype: str, attention: str = "sdpa", trust_remote_code: bool = False
) -> PreTrainedModel:
    """`load_model` on the first GPU that is seen where it has room, else over all; on the CPU where there are none.

    Raises:
        UserError: as for `load_model` and `count_gpus`, or other weights are there than were looked at: what they give
            would be kept under the name of those.
    """
    model = load_model(
        source.folder,
        dtype=dtype,
        attention=attention,
        trust_remote_code=trust_remote_code,
        quantization=source.quantization,
        device_map=devices_for(source, dtype) if count_gpus() else None,
    )
    if look_again(source).weights_digest != source.weights_digest:
        raise UserError(
            f"The model in {source.folder} was changed after this run had looked at it: leave its files as they are "
            "and run the same command again."
        )
    return model


def devices_for(source: ModelSource, dtype: str) -> str | dict[str, str]:
    """Where the parts of a model go: `auto` would spread every model over all GPUs, which then work one after another.

    On the first alone if its weights take less than half of what is free there, for activations want room too.

    Args:
        source: the model's files.
        dtype: that they will be loaded in.
    """
    files = sum(file.stat().st_size for file in weight_files(source.folder))
    most = files * (2 if dtype == "float32" else 1)  # the files may be bfloat16
    if stored_quantization(source.folder) == "mxfp4":
        most *= 4  # and here 4 bits a weight, which are loaded as 16
    return {"": "cuda:0"} if most < torch.cuda.mem_get_info(0)[0] / 2 else "auto"
