"""A decoder's layers compiled by `torch.compile`, for passes without gradients.

What lies between products (norms, positions, activations, sums) becomes one loop for each stretch, in float32 inside.
Packed attention stays as it is: its pieces differ with every pass.  Lengths are left open, and the first passes that a
process makes are always the same, so that what is compiled does not depend on which rows are left to score.
"""

import os

import torch
from transformers import PreTrainedModel

from bdpo.errors import UserError, first_line
from bdpo.layout.rows import Layout, collate
from bdpo.logprobs.attention import leave_packed_attention_out
from bdpo.logprobs.forward import response_logps
from bdpo.logprobs.proof import TRIAL_TOLERANCE, largest_difference, trial_rows
from bdpo.models.allocator import wants_memory
from bdpo.models.embedded import cache_folder

_TURN_OFF = "set it to false"
_VARIANTS = 4
"""Of a layer's code, for each layer: numbers that a family gives its layers may be compiled in."""


def compile_layers(model: PreTrainedModel, layout: Layout, *, max_length: int) -> None:
    """Compile each layer of a model, and prove on random rows that it computes as before.

    Args:
        model: in eval mode; from here on for passes in inference mode alone.
        layout: what `choose_layout` proved for this model.
        max_length: longest prompt plus response that there will be.

    Raises:
        UserError: its layers are not known or cannot be compiled here, or give other log-probs then.
    """
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise UserError(f"model.compile: the model ({model.config.model_type}) does not name its layers; {_TURN_OFF}.")
    both = trial_rows(model, max_length)
    with torch.inference_mode():  # the batches, too: another kind of tensor would be compiled for again
        # One plain row alone is compiled for apart from several.
        batches = [collate(rows, layout).to(model.device) for rows in (both, both[1:])]
        expected = torch.cat([response_logps(model, batch) for batch in batches])
    # Not in /tmp, where anybody might have put the folder.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    from torch import _dynamo
    from torch._inductor import config as inductor

    # Otherwise its own processes outlive one that is killed, and what goes beyond the limit runs as it is, unsaid.
    inductor.compile_threads = 1
    _dynamo.config.fail_on_recompile_limit_hit = True
    _dynamo.config.recompile_limit = _VARIANTS * (len(layers) + 1)
    leave_packed_attention_out()
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        with torch.inference_mode():
            found = torch.cat([response_logps(model, batch) for batch in batches])
    except RuntimeError as error:
        if wants_memory(str(error)):
            raise
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
