"""A decoder's layers compiled by `torch.compile`, for passes without gradients.

What lies between products (norms, positions, activations, sums) becomes one loop for each stretch, in float32 inside.
Packed attention stays as it is: its pieces differ with every pass.  Lengths are left open, and the first passes that a
process makes are always the same, so that what is compiled does not depend on which rows are left to score.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch.nn import Module
from transformers import PreTrainedModel

from bdpo.errors import UserError, first_line
from bdpo.layout.rows import Layout, Row, collate
from bdpo.logprobs.attention import leave_packed_attention_out
from bdpo.logprobs.forward import response_logps
from bdpo.logprobs.proof import TRIAL_TOLERANCE, largest_difference, trial_rows
from bdpo.models.allocator import wants_memory
from bdpo.models.embedded import cache_folder
from bdpo.models.products import cpu_is_fast_in_bfloat16

_TURN_OFF = "set it to false"
_VARIANTS = 4
"""Of a layer's code, for each layer: numbers that a family gives its layers may be compiled in."""
_RECOMPILES = "fail_on_recompile"
"""What the compiler's own error then names."""
_SHORTER = 65
"""Tokens by which the rows of a trial are cut, so that it has other lengths, in chunks of 64 tokens too."""


def compile_layers(model: PreTrainedModel, layout: Layout, *, max_length: int) -> None:
    """Compile each layer of a model, and prove on random rows that it computes as before.

    Args:
        model: in eval mode; from here on for passes in inference mode alone.
        layout: what `choose_layout` proved for this model.
        max_length: longest prompt plus response that there will be.

    Raises:
        UserError: its layers are not known, cannot be compiled here or not for all lengths at once, would not be
            faster, or give other log-probs then.
    """
    layers = _layers_to_compile(model)
    both = trial_rows(model, max_length)
    with torch.inference_mode():  # the batches, too: another kind of tensor would be compiled for again
        # One plain row alone is compiled for apart from several.
        batches = [collate(rows, layout).to(model.device) for rows in (both, both[1:])]
        shorter = collate([Row(_shortened(row.prompt_ids), row.responses) for row in both], layout).to(model.device)
        expected = torch.cat([response_logps(model, batch) for batch in batches])
    # Not in /tmp, where anybody might have put the folder.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    leave_packed_attention_out()
    try:
        with _compiler(model, len(layers)), torch.inference_mode():
            for layer in layers:
                layer.compile(dynamic=True)
            found = torch.cat([response_logps(model, batch) for batch in batches])
            with torch.compiler.set_stance(_RECOMPILES):
                response_logps(model, shorter)
    except (RuntimeError, AssertionError, IndexError) as error:  # the last two are dynamo's as they are
        if wants_memory(str(error)):
            raise
        if _RECOMPILES in str(error):
            raise _compiled_anew(model) from error
        raise UserError(
            f"model.compile: the layers of this model ({model.config.model_type}) cannot be compiled here: "
            f"{first_line(error)}; {_TURN_OFF}."
        ) from error
    difference = largest_difference(found, expected, [n for batch in batches for n in batch.response_lengths])
    if not difference <= TRIAL_TOLERANCE[model.dtype]:
        raise UserError(
            f"model.compile: compiled, the layers of this model ({model.config.model_type}) give log-probs that differ "
            f"by {difference:.2g} nats a token, where {TRIAL_TOLERANCE[model.dtype]:g} is allowed; {_TURN_OFF}."
        )


@contextmanager
def with_compiler(model: PreTrainedModel) -> Iterator[None]:
    """Passes of a model within may compile its layers as the trial did; nothing where it has no compiled ones.

    Raises:
        UserError: they would be compiled more often than they may be.
    """
    number = sum(part._compiled_call_impl is not None for part in model.modules())
    with _compiler(model, number) if number else nullcontext():
        yield


@contextmanager
def _compiler(model: PreTrainedModel, number: int) -> Iterator[None]:
    """Its settings for so many layers, which others in this process, such as vLLM, do not get."""
    from torch import _dynamo
    from torch._dynamo.exc import FailOnRecompileLimitHit
    from torch._inductor import config as inductor

    # Otherwise its own processes outlive one that is killed, and what goes beyond the limit runs as it is, unsaid.
    limit = _VARIANTS * (number + 1)
    try:
        with (
            inductor.patch(compile_threads=1),
            _dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=limit),
        ):
            yield
    except FailOnRecompileLimitHit as error:
        raise _compiled_anew(model) from error


def _layers_to_compile(model: PreTrainedModel) -> list[Module]:
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise UserError(f"model.compile: the model ({model.config.model_type}) does not name its layers; {_TURN_OFF}.")
    if any(hasattr(part, "_hf_hook") for layer in layers for part in layer.modules()):
        raise UserError(
            "model.compile: the model is spread over several devices, and what moves its tensors from one to the next "
            f"cannot be compiled; {_TURN_OFF}."
        )
    if model.device.type == "cpu" and model.dtype == torch.bfloat16 and not cpu_is_fast_in_bfloat16():
        raise UserError(
            "model.compile: this CPU is slow in bfloat16, and compiled layers do without the products that stand in "
            f"for its own here; {_TURN_OFF}, or set model.dtype=float32."
        )
    return layers


def _shortened(ids: tuple[int, ...]) -> tuple[int, ...]:
    return ids[min(_SHORTER, len(ids) // 2) :]


def _compiled_anew(model: PreTrainedModel) -> UserError:
    return UserError(
        f"model.compile: the layers of this model ({model.config.model_type}) are compiled anew for nearly every "
        f"length; {_TURN_OFF}."
    )
