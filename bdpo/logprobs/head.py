"""From hidden states to the log-probs of given tokens, without the logits of a whole vocabulary.

Letters: N tokens, D hidden size, V vocabulary.

A plain linear output layer is run on all N tokens and a block of the vocabulary at a
time; each block leaves its share of the softmax's denominator, and the gradient of all
tokens with respect to a block's weights is one product.  Any other output layer (such as
one with adapters) is run as a module on a chunk of the tokens at a time.

Where ZeRO 3 keeps the layer's weights in shares, calling the module is what gathers them,
and all processes have to gather together: it is called once a pass, however many tokens
each of them has.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from bdpo.logprobs.tiles import in_tiles

Rescale = Callable[[Tensor], Tensor]

_BLOCK_LOGITS = {"cpu": 2**21}
_BLOCK_LOGITS_ELSEWHERE = 2**26
"""Logits of a block: what a CPU's caches hold, and what keeps a GPU busy."""
_SMALLEST_BLOCK, _LARGEST_BLOCK = 512, 4096
_CHUNK_LOGITS = 2**23
"""Logits of a chunk of tokens, 32 MiB in float32."""


def token_logps(model: PreTrainedModel, hidden: Tensor, targets: Tensor) -> Tensor:
    """Log-probs of tokens, in nats; softmax in float32, for in bfloat16 it is off by up to 1.5 nats a response.

    Args:
        model: its output embedding and config are used.
        hidden: (N, D), the decoder's last states where each token is predicted.
        targets: (N,) int64.

    Returns:
        (N,) float32, at most 0.
    """
    head: Any = model.get_output_embeddings()
    targets = targets.to(hidden.device)
    rescale = _rescale(model)
    # By `parameters`, for reading the attribute would gather the weight.
    in_shares = any(hasattr(p, "ds_id") for p in head.parameters())
    if (in_shares and type(head) is nn.Linear) or _is_plain(head, hidden):
        states, tokens = in_tiles(hidden, 0), in_tiles(targets, 0, like=hidden)

        def logps_of(states: Tensor) -> Tensor:
            return _LinearLogps.apply(states, head.weight, head.bias, tokens, rescale)  # type: ignore[no-any-return, no-untyped-call]

        return (_called_as(head, logps_of, states) if in_shares else logps_of(states))[: len(targets)]
    chunk = len(hidden) if in_shares else max(_CHUNK_LOGITS // model.config.get_text_config().vocab_size, 1)
    parts = []
    for states, tokens in zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(_chunk_logps, head, rescale, states, tokens, use_reentrant=False))
        else:
            parts.append(_chunk_logps(head, rescale, states, tokens))
    return torch.cat(parts)


def _is_plain(head: Any, hidden: Tensor) -> bool:
    """Whether a layer is its weight: nothing around it, nothing hooked on it, nothing of it elsewhere."""
    if type(head) is not nn.Linear:
        return False
    hooks = head._forward_hooks or head._forward_pre_hooks or hasattr(head, "_hf_hook")
    weight = head.weight
    return not hooks and weight.device == hidden.device and weight.dtype == hidden.dtype


def _called_as(head: nn.Linear, forward: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """What `forward` gives as the module's own, among the hooks that gather its weights before and share them after."""
    head.forward = forward  # type: ignore[assignment, method-assign]
    try:
        result: Tensor = head(states)
    finally:
        del head.forward
    return result


def _chunk_logps(head: Any, rescale: Rescale | None, states: Tensor, targets: Tensor) -> Tensor:
    """(n, D) hidden states and (n,) targets to (n,) float32 log-probs."""
    logits: Tensor = head(states).float()
    if rescale is not None:
        logits = rescale(logits)
    return logits.log_softmax(-1).gather(-1, targets[:, None].to(logits.device)).squeeze(-1)


class _LinearLogps(torch.autograd.Function):
    """log softmax(rescale(hidden @ weight.T + bias)) at the targets, a block of the vocabulary at a time."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rescale: Rescale | None
    ) -> Tensor:
        wanted = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        denominators = []
        for block in _blocks(hidden, weight):
            logits = _logits(hidden, weight, bias, block)
            if rescale is not None:
                logits = rescale(logits)
            rows, columns = _targets_in(block, targets)
            wanted[rows] = logits[rows, columns]
            largest = logits.amax(-1, keepdim=True)
            denominators.append(largest + logits.sub_(largest).exp_().sum(-1, keepdim=True).log_())
        denominator = torch.cat(denominators, dim=1).logsumexp(1)
        ctx.save_for_backward(hidden, weight, bias, targets, denominator)
        ctx.rescale = rescale
        return wanted - denominator

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, denominator = ctx.saved_tensors
        of_hidden, of_weight, of_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device) if of_hidden else None
        d_weight = torch.empty_like(weight) if of_weight else None
        d_bias = torch.empty_like(bias) if of_bias else None
        for block in _blocks(hidden, weight):
            raw = _logits(hidden, weight, bias, block)
            logits = raw if ctx.rescale is None else ctx.rescale(raw)
            # d log p(target) / d logit = [is target] - p
            d_logits = logits.sub(denominator[:, None]).exp_().mul_(-gradient[:, None])
            rows, columns = _targets_in(block, targets)
            d_logits[rows, columns] += gradient[rows]
            if ctx.rescale is not None:
                d_logits = _through(ctx.rescale, raw, d_logits)
            d_logits = d_logits.to(hidden.dtype)
            if d_hidden is not None:
                d_hidden += d_logits @ weight[block]
            if d_weight is not None:
                torch.mm(d_logits.t(), hidden, out=d_weight[block])
            if d_bias is not None:
                d_bias[block] = d_logits.sum(0)
        return None if d_hidden is None else d_hidden.to(hidden.dtype), d_weight, d_bias, None, None


def _blocks(hidden: Tensor, weight: Tensor) -> list[slice]:
    logits = _BLOCK_LOGITS.get(hidden.device.type, _BLOCK_LOGITS_ELSEWHERE)
    largest = _LARGEST_BLOCK if hidden.device.type in _BLOCK_LOGITS else len(weight)
    # In whole steps: numbers of tokens that are alike share a kernel.
    size = min(max(logits // len(hidden) // _SMALLEST_BLOCK, 1) * _SMALLEST_BLOCK, largest)
    return [slice(start, min(start + size, len(weight))) for start in range(0, len(weight), size)]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, block: slice) -> Tensor:
    return linear(hidden, weight[block], None if bias is None else bias[block]).float()


def _targets_in(block: slice, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Which targets lie in a block of the vocabulary, and where in it."""
    rows = ((targets >= block.start) & (targets < block.stop)).nonzero(as_tuple=True)[0]
    return rows, targets[rows] - block.start


def _through(rescale: Rescale, raw: Tensor, gradient: Tensor) -> Tensor:
    with torch.enable_grad():
        raw = raw.detach().requires_grad_()
        (result,) = torch.autograd.grad(rescale(raw), raw, gradient)
    return result


def _rescale(model: PreTrainedModel) -> Rescale | None:
    """What some families do to logits after the output embedding, by their config.

    Cohere, Falcon-H1 and HyperCLOVA X multiply, Granite divides, Gemma caps.  A family with a rule of its own fails
    the proof of `choose_layout`, which compares with the model's whole forward.
    """
    config = model.config.get_text_config()
    multiplier = getattr(config, "logit_scale", getattr(config, "lm_head_multiplier", None))
    divisor = getattr(config, "logits_scaling", None)
    if config.model_type == "hyperclovax":
        multiplier, divisor = divisor, None
    cap = getattr(config, "final_logit_softcapping", None)
    if multiplier is None and divisor is None and cap is None:
        return None

    def rescale(logits: Tensor) -> Tensor:
        if multiplier is not None:
            logits = logits * multiplier
        if divisor is not None:
            logits = logits / divisor
        return logits if cap is None else (logits / cap).tanh() * cap

    return rescale
