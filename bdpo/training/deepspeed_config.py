"""What a user may ask of DeepSpeed, and what is not his to ask there."""

import difflib
import json
from pathlib import Path
from typing import Any

from bdpo.errors import UserError

_OWNED = {
    "train_batch_size": "train.batch_size",
    "train_micro_batch_size_per_gpu": "train.token_budget",
    "gradient_accumulation_steps": "train.token_budget",
    "managed_gradient_accumulation": "train.token_budget",
    "gradient_allreduce_op": "train.batch_size, over which gradients are averaged",
    "gradient_clipping": "train.max_grad_norm",
    "zero_optimization.compute_grad_norm": "train.max_grad_norm",
    "optimizer": "train.learning_rate and train.weight_decay",
    "scheduler": "train.schedule",
    "bf16": "model.dtype",
    "bfloat16": "model.dtype",
    "fp16": "model.dtype",
    "amp": "model.dtype",
    "torch_autocast": "model.dtype",
    "data_types": "model.dtype",
    "zero_optimization.load_from_fp32_weights": "how a training is carried on",
    "checkpoint.load_universal": "how a training is carried on",
}
"""By name, behind a dot within another field, what decides it."""
_FREE = frozenset(
    {
        *("activation_checkpointing", "aio", "autotuning", "checkpoint", "comet", "comms_logger", "compile"),
        *("communication_data_type", "csv_monitor", "data_efficiency", "dataloader_drop_last", "datastates_ckpt"),
        *("disable_allgather", "disable_python_gc", "dump_state", "expert_parallel", "flops_profiler"),
        *("gradient_predivide_factor", "hybrid_engine", "log_level", "memory_breakdown", "pipeline"),
        *("prescale_gradients", "seq_parallel_communication_data_type", "steps_per_print", "tensor_parallel"),
        *("tensorboard", "timers", "use_data_before_expert_parallelism", "vocabulary_size", "wall_clock_breakdown"),
        *("wandb", "weight_quantization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"),
        "zero_optimization",
    }
)
"""What else DeepSpeed 0.19 reads; it passes over the rest in silence, a misspelt `zero_optimization` too."""


def read_deepspeed_config(path: Path | None, *, world: int) -> dict[str, Any]:
    """The user's DeepSpeed settings.

    Args:
        path: JSON; without it ZeRO stage 0 for one process, which has nothing to share, and 1 for several.
        world: number of processes.

    Raises:
        UserError: the file is not JSON, sets what the run's own settings decide or what DeepSpeed does not know, or
            names no stage of ZeRO.
    """
    if path is None:
        return {"zero_optimization": {"stage": 0 if world == 1 else 1}}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a DeepSpeed config: {error}; a JSON object is expected.") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a DeepSpeed config: a JSON object is expected, not {type(config).__name__}.")
    within = {f"{name}.{field}" for name, value in config.items() if isinstance(value, dict) for field in value}
    for name, setting in _OWNED.items():
        if name in config.keys() | within:
            raise UserError(f"{path}: field `{name}` is decided by {setting}; remove it from this file.")
    for name in sorted(config.keys() - _FREE):
        close = difflib.get_close_matches(name, _FREE, n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ": remove it."
        raise UserError(f"{path}: field `{name}` is none that DeepSpeed reads{hint}")
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise UserError(f"{path}: field `zero_optimization`: {{'stage': 2}} or the like is expected, not {zero!r}.")
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
        raise UserError(f"{path}: field `zero_optimization.stage`: {stage!r} is none of ZeRO's stages 0, 1, 2 and 3.")
    return config
