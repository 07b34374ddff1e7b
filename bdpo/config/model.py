"""Section `model`."""

from typing import Literal

from pydantic import Field, model_validator

from bdpo.config.section import Dtype, ModelPath, Section


class ModelSettings(Section):
    """The causal language model to align, which is also the frozen reference."""

    path: ModelPath = "embedded"
    """`embedded`, a folder with safetensors weights, or a hub name such as `Qwen/Qwen2-7B-Instruct`; not
    quantised, but for mxfp4, which is loaded as what it stands for."""
    revision: str | None = None
    """Branch, tag or commit, for a hub name only."""
    dtype: Dtype = "bfloat16"
    """Arithmetic of scoring, training and generation alike, so that step 0 starts at log-ratio 0."""
    quantization: Literal["nf4"] | None = None
    """`nf4`: linear layers in 4 bits (QLoRA, arXiv 2305.14314) through `bitsandbytes`, to train adapters on a model
    that would not fit otherwise: it needs `train.lora` and bfloat16.  This 4-bit model is then the reference.  Models
    of experts are refused, for those would stay in 16 bits."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention implementation of `transformers`."""
    compile: bool = False
    """Compile the layers of the reference model for stage `score` (`torch.compile`), which takes a C++ compiler and
    up to a minute when a model is first scored: for many pairs.  Scores then differ by rounding from those without."""
    max_length: int = Field(1024, ge=8)
    """Longest prompt plus response, in tokens; a response is cut from its end."""
    max_prompt_length: int = Field(512, ge=4)
    """Longest prompt, in tokens; a prompt is cut from its start."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model.  Leave off unless you have read it."""

    @model_validator(mode="after")
    def _quantized_in_bfloat16(self) -> "ModelSettings":
        if self.quantization is not None and self.dtype != "bfloat16":
            raise ValueError(
                f"quantization {self.quantization} computes in bfloat16, not in {self.dtype}: change `dtype`"
            )
        return self

    @model_validator(mode="after")
    def _prompt_leaves_room(self) -> "ModelSettings":
        if self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} leaves no room for a response: "
                f"it must be below max_length {self.max_length}"
            )
        return self
