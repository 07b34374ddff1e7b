"""DeepSpeed, the one place that imports it."""

import math
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import cuda_accelerator
from deepspeed.constants import default_pg_timeout
from deepspeed.runtime.config import DeepSpeedConfigError
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributed import distributed_c10d
from transformers import PreTrainedModel

from bdpo.errors import UserError
from bdpo.layout.rows import Batch
from bdpo.logprobs.forward import require_room, response_logps, sum_logps
from bdpo.training.extension import build_extension
from bdpo.training.policy import copy_state
from bdpo.training.rendezvous import LOOPBACK, meet_on_loopback
from bdpo.training.shared_memory import unlink_orphans, unlink_own

_LONGEST_WAIT = timedelta(hours=3)


class _Policy(nn.Module):
    """The log-prob path as a module, for DeepSpeed hooks a module's forward."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """Summed log-probs of a batch's responses: (number of responses,) float32."""
        return sum_logps(response_logps(self.model, batch), batch.response_lengths)


class Engine:
    """A policy under training.

    A step is any number of `accumulate`, then `step`.  Learning rates are given
    with each step, so that no scheduler has a state to lose.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        dtype: str,
        weight_decay: float,
        max_grad_norm: float,
        deepspeed_config: dict[str, Any],
    ) -> None:
        """Wrap a model.

        Args:
            model: in `dtype`, dropout off; what is trained of it in another is brought to it.
            dtype: `bfloat16` keeps float32 master weights and gradient sums beside the model's bfloat16
                weights, at every ZeRO stage (0 is run as 1).
            weight_decay: AdamW's decay of matrices; biases and norms are spared.
            max_grad_norm: gradients are clipped to this norm.
            deepspeed_config: what `read_deepspeed_config` gave.

        Raises:
            UserError: DeepSpeed refuses the config.
        """
        self.model = model
        self._max_grad_norm = max_grad_norm
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._has_frozen = len(parameters) < len(list(model.parameters()))
        # DeepSpeed may take a trial step at its start; at a learning rate of 0 it changes nothing.
        optimizer = torch.optim.AdamW(_groups(model, weight_decay), lr=0.0, fused=True)
        exact: list[tuple[nn.Parameter, Tensor]] = []
        zero = {"stage": 0, **deepspeed_config.get("zero_optimization", {})}
        if dtype == "bfloat16":
            # Stage 0 would add up gradients in bfloat16; on one process stage 1 is the same without that.
            zero["stage"] = max(zero["stage"], 1)
        config: dict[str, Any] = {
            # In bfloat16 two processes would average gradients that one process has in float32.
            "communication_data_type": "fp32",
            **deepspeed_config,
            "zero_optimization": zero,
            "train_batch_size": int(os.environ["WORLD_SIZE"]),
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 2**31,
        }
        # Without ZeRO and master weights DeepSpeed clips, but does not tell the norm.
        self._clips_itself = dtype == "float32" and zero["stage"] == 0
        if not self._clips_itself:
            config["gradient_clipping"] = max_grad_norm
        if dtype == "bfloat16":
            # A gradient joins its float32 sum at once, in place of the whole model's bfloat16 ones staying beside them.
            config["bf16"] = {"enabled": True, "immediate_grad_update": True}
            config["data_types"] = {"grad_accum_dtype": "fp32"}
            for p in parameters:
                # A router may be in float32.  DeepSpeed rounds it at ZeRO 1 and 2, and takes no two dtypes at 3.
                p.data = p.data.bfloat16()
            # What is frozen it would round too, such as a bias that decides which experts a token goes to.
            exact = [(p, p.data) for p in model.parameters() if not p.requires_grad and p.dtype is torch.float32]
        policy = _Policy(model)
        _leave_nvml_out()
        # Processes load at their own pace, and DeepSpeed's further groups have its short limit.
        barrier()
        try:
            if zero["stage"] == 3:
                _share_out(policy, config, model.dtype)
            self._engine, wrapped, _, _ = deepspeed.initialize(model=policy, optimizer=optimizer, config=config)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"train.deepspeed: DeepSpeed refuses its field `{field}`, {first['input']!r}: {first['msg']}."
            ) from error
        except DeepSpeedConfigError as error:
            raise UserError(f"train.deepspeed: DeepSpeed refuses its config: {error}") from error
        if zero["stage"] < 3:
            for p, data in exact:
                p.data = data.to(p.device)
        self._wrapper = wrapped
        self._optimizer = getattr(wrapped, "optimizer", wrapped)
        self._optimizer.state.clear()
        if int(os.environ["WORLD_SIZE"]) == 1 and zero["stage"] <= 1 and not hasattr(wrapped, "reduce_gradients"):
            # It would copy all gradients twice to average them with nobody's.
            self._engine.enable_backward_allreduce = False

    def logps(self, batch: Batch) -> Tensor:
        """Summed log-probs of a batch's responses under the policy, differentiable; errors as `require_room`."""
        require_room(self.model, batch)
        result: Tensor = self._engine(batch.to(self._engine.device))
        return result

    def accumulate(self, loss: Tensor, *, last: bool) -> None:
        """Add a pass's gradient to the step's; `last` marks the pass before `step`.

        The gradients of the processes are averaged, so a process's losses carry the factor `world`.
        """
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def step(self, learning_rate: float) -> float:
        """Clip, update the weights, and return the gradient's norm before clipping.

        Where that is not finite, weights and optimizer stay as they were.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if self._clips_itself:
            norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._max_grad_norm))
            if math.isfinite(norm):
                self._engine.step()
            return norm
        self._engine.step()
        # On overflow DeepSpeed leaves out the step without a word and keeps the norm of the one before.
        return float("nan") if self._wrapper.overflow else float(self._engine.get_global_grad_norm())

    def save(self, folder: Path, tag: str) -> None:
        """Save trained weights and optimizer state; call on every process."""
        self._engine.save_checkpoint(str(folder), tag=tag, exclude_frozen_parameters=self._has_frozen)

    def load(self, folder: Path, tag: str) -> None:
        """Load what `save` saved; call on every process."""
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=tag, load_module_strict=not self._has_frozen)
        assert loaded is not None, f"{folder} was proved whole and DeepSpeed finds nothing in it"

    def gather_state(self, *, without_frozen: bool = False) -> dict[str, Tensor]:
        """The model's state dict, on the CPU, complete on rank 0; call on every process.

        Args:
            without_frozen: what was trained will do.
        """
        if self._engine.zero_optimization_stage() < 3:
            state = self.model.state_dict()
            if without_frozen:
                state = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        else:
            whole = self._engine._zero3_consolidated_16bit_state_dict(without_frozen) or {}
            state = {name.removeprefix("model."): value for name, value in whole.items()}
        return copy_state(state)

    def sum_over_processes(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over all processes; call on every process."""
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self._engine.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor]


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained of a model, by whether it decays; no group is empty."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            owner, _, own = name.rpartition(".")
            # The biases of all experts are a matrix, and so are the norms of all heads.
            is_weight = p.ndim >= 2 and not own.endswith("bias") and not owner.endswith("norm")
            (decayed if is_weight else spared).append(p)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _share_out(policy: nn.Module, config: dict[str, Any], dtype: torch.dtype) -> None:
    """Give each process its share of every parameter, one parameter after the other on the device.

    `deepspeed.initialize` would first put the whole model on every device, where ZeRO 3 is for one that has no room.
    """
    deepspeed.zero.Init(module=policy, config_dict_or_path=config, dtype=dtype)
    device = deepspeed.get_accelerator().current_device_name()
    for buffer in policy.buffers():
        buffer.data = buffer.data.to(device)


def join_processes() -> None:
    """Meet the other processes of the training; to be called once, before anything takes time.

    Within DeepSpeed's ten minutes, which `DEEPSPEED_TIMEOUT` changes, so that a wrong address is not waited for long.
    From then on they wait three hours for each other: one of them writes a checkpoint and reads it again, at 12 to 16
    bytes a weight, or merges adapters, while the others have nothing to do.
    """
    accelerator = deepspeed.get_accelerator()
    if accelerator.device_name() == "cpu":
        build_extension(accelerator.create_op_builder("ShareMemCommBuilder"))
    unlink_orphans()
    backend = accelerator.communication_backend_name()
    if os.environ["MASTER_ADDR"] == LOOPBACK:
        local_rank, world = int(os.environ["LOCAL_RANK"]), rank_and_world()[1]
        # As DeepSpeed binds a group to its GPU.
        device = torch.device("cuda", local_rank) if accelerator.device_name() == "cuda" and world > 1 else None
        meet_on_loopback(backend, timeout=default_pg_timeout, device=device)
    deepspeed.init_distributed(backend)
    barrier()
    unlink_own()
    distributed_c10d._set_pg_timeout(_LONGEST_WAIT)


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def _leave_nvml_out() -> None:
    """Let DeepSpeed ask PyTorch for a GPU's free memory.

    Where NVML's package is installed, as vLLM brings it, it takes CUDA_VISIBLE_DEVICES for a list of numbers and
    fails on the names of GPUs and MIG slices (deepspeedai/DeepSpeed#8510).
    """
    cuda_accelerator.pynvml = None


def barrier() -> None:
    """Wait for all processes."""
    torch.distributed.barrier()
