"""One forward pass: a batch of token rows to the log-probs of its response tokens.

The decoder gives hidden states for every token; the LM head then runs on the N
response positions only, and never holds the logits of a whole vocabulary for them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bdpo.errors import UserError
from bdpo.layout.rows import Batch
from bdpo.logprobs.attention import has_packed_attention
from bdpo.logprobs.head import token_logps
from bdpo.logprobs.spans import Spans
from bdpo.logprobs.tiles import in_tiles


def response_logps(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Log-probs of a batch's response tokens, in nats.

    Differentiable with respect to the model's weights, and safe under gradient checkpointing.
    Dropout is the caller's to switch off.

    Args:
        model: a causal language model with `get_decoder()` and an output embedding; for a packed batch,
            one that `choose_layout` gave the packed layout.
        batch: on the model's device.

    Returns:
        (N,) float32, in the order of `batch.targets`.
    """
    arguments: dict[str, Any] = {}
    inputs = batch.input_ids
    if batch.packing is not None:
        assert has_packed_attention(model), "without `choose_layout` each row would see all the others"
        # A mask of four dimensions is taken as it is: none is built, and the packed attention reads none.
        no_mask = torch.zeros(1, 1, 1, 1, dtype=model.dtype, device=batch.input_ids.device)
        assert batch.position_ids is not None, "packed rows do not count from 0"
        positions = in_tiles(batch.position_ids, 1, like=no_mask)
        inputs = in_tiles(inputs, 1, like=no_mask)
        spans = Spans(batch.packing, inputs.shape[1], no_mask)
        arguments = {"attention_mask": no_mask, "packed": spans, "position_ids": positions}
    hidden = _decoder(model)(input_ids=inputs, use_cache=False, **arguments).last_hidden_state
    return token_logps(model, hidden.flatten(0, 1)[batch.sources.to(hidden.device)], batch.targets)


def require_room(model: PreTrainedModel, batch: Batch) -> None:
    """Refuse what the model's tables do not hold; while the batch is on the CPU, or a GPU would be waited for.

    Raises:
        UserError: the model has no such token, or takes no row of that length.
    """
    config = model.config.get_text_config()
    largest = max(int(batch.input_ids.max()), int(batch.targets.max()))
    if largest >= config.vocab_size:
        raise UserError(
            f"A row has the token {largest}, and the model ({config.model_type}) has {config.vocab_size} tokens: its "
            "tokenizer belongs to another model, or got tokens for which the model was not resized."
        )
    name, limit = longest_row(config)
    length = batch.input_ids.shape[1] if batch.position_ids is None else int(batch.position_ids.max()) + 1
    if limit is not None and length > limit:
        raise UserError(
            f"A row has {length + 1} tokens, and the model ({config.model_type}) takes {limit} "
            f"({name}): lower model.max_length to {limit}."
        )


def longest_row(config: Any) -> tuple[str, int | None]:
    """How a text config calls the most tokens of a row, MPT otherwise than all others, and how many; None for any."""
    name = next((name for name in ("max_position_embeddings", "max_seq_len") if hasattr(config, name)), "")
    return name, getattr(config, name, None)


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


def _decoder(model: Any) -> Any:
    decoder = model.get_decoder()
    # Llama 4 names itself as its own decoder, ModernBERT its output layer.
    return model.model if decoder is model or isinstance(decoder, nn.Linear) else decoder
