"""The policy as a model to train: adapters, activation checkpointing; and its way back into a model folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from bdpo.errors import UserError, first_line
from bdpo.models.allocator import release_memory
from bdpo.models.loading import load_model
from bdpo.models.quantized import dequantized
from bdpo.models.source import TOKENIZER_FILES

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
"""What a model that takes more than text says of how that is prepared; other programs ask for it with the weights."""


def add_adapters(model: PreTrainedModel, *, rank: int, alpha: int, target_modules: list[str], seed: int) -> Any:
    """Put LoRA adapters (arXiv 2106.09685) into a model, in place; only they are trained.

    They start at the model itself: one factor is 0, the other is drawn from `seed`.

    Args:
        model: in eval mode.
        rank: of the adapters.
        alpha: adapters are scaled by alpha / rank.
        target_modules: names of layers, or `all-linear` alone.
        seed: of the start.

    Returns:
        The `peft` model around it.

    Raises:
        UserError: no layer has one of the names, such a layer takes no adapter, or a weight is tied to it.
    """
    from peft import LoraConfig, get_peft_model

    _require_targets(model, target_modules)
    targets = target_modules[0] if target_modules == ["all-linear"] else target_modules
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    try:
        # In the model's own dtype: under bfloat16 the optimizer keeps float32 master weights.
        adapted = get_peft_model(model, settings, autocast_adapter_dtype=False)
    except ValueError as error:
        raise UserError(f"train.lora.target_modules {target_modules}: {first_line(error)}") from error
    adapted.eval()
    return adapted


def describe_adapters(model: nn.Module) -> str:
    """One line on what `add_adapters` has put into a model, for the log."""
    from peft.tuners.lora import LoraLayer, ParamWrapper

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    experts = [layer for layer in layers if isinstance(layer, ParamWrapper) and layer.get_param().ndim == 3]
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"Adapters: {weights:,} weights beside {len(layers)} tensors, of which {len(experts)} hold experts."


def _require_targets(model: PreTrainedModel, target_modules: list[str]) -> None:
    """Refuse what `peft` passes over: a name beside others that no layer has, and adapters on tied embeddings."""
    if target_modules == ["all-linear"]:
        return  # which leaves out the output embedding
    named = {
        target: [layer for name, layer in model.named_modules() if f".{name}".endswith(f".{target}")]
        for target in target_modules
    }
    unknown = [target for target, layers in named.items() if not layers]
    if unknown:
        raise UserError(
            f"train.lora.target_modules {target_modules}: no layer of the model ({model.config.model_type}) is called "
            f"{' or '.join(map(repr, unknown))}."
        )
    embeddings = [model.get_input_embeddings(), model.get_output_embeddings()]
    if embeddings[0].weight is not embeddings[1].weight:
        return
    for target, layers in named.items():
        if any(layer is embedding for layer in layers for embedding in embeddings):
            # Merged into the one weight of both, it would change the other too, which was trained without it.
            raise UserError(
                f"train.lora.target_modules {target_modules}: {target!r} is an embedding, and the model "
                f"({model.config.model_type}) has one weight for the input's and the output's, so an adapter on either "
                "alone cannot be merged: take it out."
            )


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Keep one activation a layer, and compute the others again in the backward pass.

    `transformers` does so in training mode only, which would switch dropout on; here the layers alone are
    put into that mode, and what they drop themselves is set to 0.

    Raises:
        UserError: the model's layers cannot do it.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not model.supports_gradient_checkpointing or not layers:
        raise UserError(
            f"train.gradient_checkpointing: the model ({model.config.model_type}) does not support it; set it to false."
        )
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in layers:
        layer.training = True
        for name, value in vars(layer).items():
            if "dropout" in name and isinstance(value, float):
                setattr(layer, name, 0.0)


def copy_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict's own copy on the CPU; weights that the model ties stay one tensor, or would be saved twice."""
    copies: dict[tuple[int, torch.Size], Tensor] = {}
    for value in state.values():
        place = (value.data_ptr(), value.shape)
        if place not in copies:
            copies[place] = value.detach().cpu().clone()
    return {name: copies[value.data_ptr(), value.shape] for name, value in state.items()}


def first_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that holds NaN or an infinity; None where there is none."""
    return next((name for name, value in state.items() if not value.isfinite().all()), None)


def save_policy(
    folder: Path,
    model: PreTrainedModel,
    state: Mapping[str, Tensor],
    *,
    base: Path,
    trust_remote_code: bool,
) -> None:
    """Write a standard model folder: safetensors, configs, and its base's tokenizer, chat templates and processor.

    Args:
        folder: to write, afresh.
        model: the trained model, whose config counts.
        state: its whole state dict.
        base: the folder that the policy started from.
        trust_remote_code: Python code of the base was run, and is needed to load the policy too.
    """
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, state_dict=dict(state))
    # As they are: what `transformers` 5 would write, its version 4 and the programs built on that cannot read.
    unchanged = [base / name for name in (*TOKENIZER_FILES, *_PROCESSOR_FILES)]
    unchanged += base.glob("additional_chat_templates/*.jinja")
    if trust_remote_code:
        unchanged += base.glob("*.py")
    for file in unchanged:
        if file.is_file():
            copy = folder / file.relative_to(base)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)


def _let_go_of_frozen(model: nn.Module) -> None:
    """Free the weights that are not trained, 4-bit ones with the scales that `bitsandbytes` keeps in two places."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for p in frozen:
        p.data = p.data.new_empty(0)
    holders: list[Any] = [*frozen, *model.modules()]
    for holder in holders:
        if "quant_state" in vars(holder):
            holder.quant_state = None
    release_memory()


def _float_dtypes(module: nn.Module) -> dict[str, torch.dtype]:
    """Of the floating parameters and buffers of a module, by name."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor.dtype for name, tensor in tensors if tensor.is_floating_point()}


def _cast(module: nn.Module, dtypes: Mapping[str, torch.dtype], other: torch.dtype) -> None:
    """Give the floating parameters and buffers of a module these dtypes, and those that are not named another one."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtypes.get(name, other))


def save_adapters(
    adapter_folder: Path,
    policy_folder: Path,
    adapted: Any,
    state: Mapping[str, Tensor],
    *,
    base: Path,
    base_name: str,
    dtype: str,
    quantization: str | None,
    attention: str,
    trust_remote_code: bool,
) -> None:
    """Write the adapters alone (for `peft`), and the model that they are merged into.

    Adapters are merged into the weights that they were trained on, in `dtype` or what 4-bit ones stand for, so that the
    policy is the model that was trained.  Each layer's sum is computed in float32 and rounded once to what its weights
    were loaded in; of a 4-bit model all layers are in float32 until then.  These weights are read again, and those of
    the trained model are let go first: a GPU with room for one 4-bit model need not have it for two.

    Args:
        adapter_folder: gets the adapters.
        policy_folder: gets the merged model.
        adapted: what `add_adapters` gave; nothing can be computed with it afterwards.
        state: whole tensors, by the names of the adapted model's parameters, adapters at least.
        base: the folder that the policy started from.
        base_name: what the adapters' config calls it.
        dtype: of the merged weights, those apart that `transformers` loads in float32 whatever is asked.
        quantization: of the model that the adapters were trained on.
        attention: of the model.
        trust_remote_code: as in `save_policy`.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    shutil.rmtree(adapter_folder, ignore_errors=True)
    # peft would name the folder on this machine.
    adapted.peft_config["default"].base_model_name_or_path = base_name
    # Left to itself it asks the hub for that name, whether the vocabulary has changed; adapters on embeddings are saved
    # as any others.
    adapted.save_pretrained(adapter_folder, state_dict=dict(state), save_embedding_layers=False)
    # Its own card says nothing that the policy's does not.
    (adapter_folder / "README.md").unlink(missing_ok=True)
    _let_go_of_frozen(adapted)
    model = load_model(
        base,
        dtype=dtype,
        attention=attention,
        trust_remote_code=trust_remote_code,
        quantization=quantization,
    )
    # Some tensors, such as a router's, are loaded in float32 under bfloat16 too: rounded, they choose other experts.
    loaded_in = _float_dtypes(model)
    if quantization is not None:
        model = dequantized(model)
    merging = PeftModel.from_pretrained(model, adapter_folder)
    for layer in merging.modules():
        if isinstance(layer, LoraLayer):
            before = _float_dtypes(layer)
            layer.float()
            layer.merge()
            _cast(layer, before, getattr(torch, dtype))
    merged = merging.unload()
    _cast(merged, loaded_in, getattr(torch, dtype))
    save_policy(policy_folder, merged, merged.state_dict(), base=base, trust_remote_code=trust_remote_code)
