"""One forward pass: a batch of token rows to the log-probs of its response tokens.

Letters: B rows, T padded length, D hidden size, V vocabulary, N response tokens.

The decoder gives hidden states for every token; the LM head then runs on the N
response positions only, a chunk at a time, so (N, V) logits never exist.  Under
autograd each chunk is checkpointed: backward keeps (N, D), not (N, V).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from bdpo.layout.rows import Batch
from bdpo.versions import LOGPROBS as VERSION

__all__ = ["VERSION", "response_logps", "sum_logps"]

_CHUNK_LOGITS = 2**23
"""Logits of one chunk, 32 MiB in float32: fewer make the matrix product slow, more make memory slow."""


def response_logps(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Log-probs of a batch's response tokens, in nats.

    Differentiable with respect to the model's weights, and safe under gradient checkpointing.
    Dropout is the caller's to switch off.

    Args:
        model: a causal language model with `get_decoder()` and an output embedding.
        batch: on the model's device.

    Returns:
        (N,) float32, in the order of `batch.targets`.
    """
    arguments: dict[str, Any] = {}
    if batch.attention_mask is not None:
        arguments["attention_mask"] = _additive(batch.attention_mask, model.dtype)
    if batch.position_ids is not None:
        arguments["position_ids"] = batch.position_ids
    hidden = _decoder(model)(input_ids=batch.input_ids, use_cache=False, **arguments).last_hidden_state
    hidden = hidden.flatten(0, 1)[batch.sources]  # (N, D)
    chunk = max(_CHUNK_LOGITS // model.config.get_text_config().vocab_size, 1)
    parts = []
    for states, targets in zip(torch.split(hidden, chunk), torch.split(batch.targets, chunk), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(_chunk_logps, model, states, targets, use_reentrant=False))
        else:
            parts.append(_chunk_logps(model, states, targets))
    return torch.cat(parts)


def sum_logps(token_logps: Tensor, response_lengths: Sequence[int]) -> Tensor:
    """Sum token log-probs by response.

    Args:
        token_logps: (N,), responses one after the other.
        response_lengths: tokens of each response; their sum is N.

    Returns:
        (number of responses,) float32, accumulated in float64.
    """
    parts = torch.split(token_logps.double(), list(response_lengths))
    return torch.stack([part.sum() for part in parts]).float()


def _chunk_logps(model: PreTrainedModel, states: Tensor, targets: Tensor) -> Tensor:
    """(n, D) hidden states and (n,) targets to (n,) float32 log-probs."""
    logits = _rescale(model, _head(model)(states).float())
    # In float32, for in bfloat16 it is off by up to 1.5 nats a response.  All entries of the softmax are
    # written where one is needed, and yet this one kernel is faster than the four passes of logsumexp.
    return logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)


def _decoder(model: Any) -> Any:
    return model.get_decoder()


def _head(model: Any) -> Any:
    return model.get_output_embeddings()


def _rescale(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """What some families do to logits after the output embedding, by their config.

    Cohere multiplies, Granite divides, Gemma caps.  A family with a rule of its own fails the proof
    of `choose_layout`, which compares with the model's whole forward.
    """
    config = model.config.get_text_config()
    multiplier = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)
    cap = getattr(config, "final_logit_softcapping", None)
    if multiplier is not None:
        logits = logits * multiplier
    if divisor is not None:
        logits = logits / divisor
    if cap is not None:
        logits = (logits / cap).tanh() * cap
    return logits


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as the addend that every attention implementation of `transformers` takes."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
