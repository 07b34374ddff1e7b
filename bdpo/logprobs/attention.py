"""Attention over packed rows, piece by piece.

`transformers` looks an attention up by name.  The one registered here is SDPA, and where a batch is packed it is
SDPA of the pieces of `bdpo.logprobs.spans`: no mask of the whole row exists, and no two rows meet.

Letters: T tokens of the row, C of its copy; B pieces of a size, Q queries and K keys of each.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bdpo.logprobs.spans import Copies, Spans

_NAME = "bdpo_packed"
_ADDED = ("softcap", "position_bias", "s_aux", "sinks", "indices", "block_indices")
"""What layers of `transformers` hand to an attention beside masks, windows and scales."""
_WIDEST_FLASH = 256
"""Channels of a head."""
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def takes_packed_rows(model: PreTrainedModel) -> bool:
    """Whether the model's attention is one that this module can stand in for."""
    return bool(model.config._attn_implementation in ("sdpa", _NAME))


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let a model with SDPA attention take packed rows; on all others it goes on as before."""
    model.set_attn_implementation(_NAME)


def has_packed_attention(model: PreTrainedModel) -> bool:
    """Whether `use_packed_attention` was called."""
    return bool(model.config._attn_implementation == _NAME)


def stop_packed_attention(model: PreTrainedModel) -> None:
    """Back to SDPA."""
    model.set_attn_implementation("sdpa")


def leave_packed_attention_out() -> None:
    """Keep `torch.compile` from looking into packed attention, in this process."""
    AttentionInterface.register(_NAME, torch.compiler.disable(_attend))  # type: ignore[no-untyped-call]


def _attend(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Spans | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """(1, heads, T, channels) queries, keys and values to (1, T, heads, channels)."""
    if packed is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)[0]
        return output, None
    _require_plain_attention(attention_mask, settings)
    window, scale = settings.get("sliding_window"), settings.get("scaling")
    of_queries, of_keys = packed.copies(query.device)
    calls = zip(
        _pieces(query, of_queries, [(group.pieces, group.queries) for group in packed.groups]),
        _pieces(key, of_keys, [(group.pieces, group.keys) for group in packed.groups]),
        _pieces(value, of_keys, [(group.pieces, group.keys) for group in packed.groups]),
        strict=True,
    )
    outputs = [
        _sdpa(*call, packed.mask(number, window, query), scale).transpose(1, 2).flatten(0, 1)
        for number, call in enumerate(calls)
    ]
    tokens: Tensor = _Returned.apply(torch.cat(outputs), of_queries)  # type: ignore[no-untyped-call]
    return tokens[None], None


def _require_plain_attention(attention_mask: Tensor | None, settings: Mapping[str, Any]) -> None:
    """ValueError for what a layer adds to attention and the pieces would leave out; the trial of a model meets it."""
    for name in _ADDED:
        if settings.get(name) is not None:
            raise ValueError(f"packed attention has no {name}")
    if attention_mask is not None and attention_mask.numel() > 1:
        raise ValueError("packed attention takes no mask of a layer's own")


def _pieces(tokens: Tensor, copies: Copies, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """(1, heads, T, channels) to (B, heads, length, channels), one for each number B of pieces and their length."""
    copied: Tensor = _Copied.apply(tokens, copies)  # type: ignore[no-untyped-call]
    # Cut once: the gradient of one split is one concatenation, that of many slices as many whole tensors.
    parts = torch.split(copied, [pieces * length for pieces, length in sizes], dim=1)
    return [part.view(len(part), *size, -1).transpose(0, 1) for part, size in zip(parts, sizes, strict=True)]


class _Copied(torch.autograd.Function):
    """(1, heads, T, channels) tokens to (heads, C, channels), those of several pieces more than once.

    A head's keys lie together, without which float32's kernel takes a fifth more time.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, copies: Copies) -> Tensor:
        ctx.copies = copies
        _, heads, _, channels = tokens.shape
        rows = tokens.transpose(1, 2).reshape(-1, channels)
        return rows.index_select(0, copies.rows(heads)).view(heads, -1, channels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        copies: Copies = ctx.copies
        heads, _, channels = gradient.shape
        rows = gradient.reshape(-1, channels).index_select(0, copies.rows_back(heads))
        result = rows.view(-1, heads, channels).transpose(0, 1)
        result[:, copies.tokens :] = 0
        for start, stop, place in copies.again:
            result[:, start:stop] += gradient[:, place : place + stop - start]
        return result[None], None


class _Returned(torch.autograd.Function):
    """(C, heads, channels) copies to (T, heads, channels) tokens, each from its first place."""

    @staticmethod
    def forward(ctx: Any, copied: Tensor, copies: Copies) -> Tensor:
        ctx.copies = copies
        return copied.index_select(0, copies.places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        copies: Copies = ctx.copies
        result = gradient.new_zeros(len(copies.sources), *gradient.shape[1:])
        result[copies.places[: copies.tokens]] = gradient[: copies.tokens]
        return result, None


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """(B, heads, Q, channels) queries, K keys and values to (B, heads, Q, channels); causal where there is no mask."""
    groups = query.shape[1] // key.shape[1]
    on_cpu = query.device.type == "cpu"
    has_gradient = torch.is_grad_enabled() and query.requires_grad
    # The kernel takes values as wide as keys alone, which DeepSeek's are not.
    if on_cpu and query.dtype == torch.bfloat16 and has_gradient and value.shape[-1] == key.shape[-1]:
        output: Tensor = _BFloat16OnCpu.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
        return output
    if groups > 1 and not on_cpu and not _flash_takes(query, key, value, mask):
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        groups = 1
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=groups > 1
    )


def _flash_takes(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Whether a GPU's flash attention does: no other kernel shares keys among heads without a table of scores.

    It wants no mask, 16 bits, and keys and values of one width.
    """
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    return mask is None and is_half and key.shape[-1] == value.shape[-1] <= _WIDEST_FLASH


class _BFloat16OnCpu(torch.autograd.Function):
    """SDPA as ever, and its gradient in float32: of short rows that takes half the time of bfloat16's kernel."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
    ) -> Tensor:
        output, logsumexp = _FLASH(query, key, value, 0.0, mask is None, attn_mask=mask, scale=scale)
        ctx.save_for_backward(query, key, value, mask, output, logsumexp)
        ctx.scale = scale
        return output  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, output, logsumexp = ctx.saved_tensors
        groups = query.shape[1] // key.shape[1]
        wide = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        of_query, *of_keys = _FLASH_BACKWARD(
            gradient.float(),
            query.float(),
            *(x.float() for x in wide),
            output.float(),
            logsumexp,
            0.0,
            mask is None,
            attn_mask=None if mask is None else mask.float(),
            scale=ctx.scale,
        )
        # The heads that share keys and values add up.
        of_key, of_value = (x.unflatten(1, (-1, groups)).sum(2).to(key.dtype) for x in of_keys)
        return of_query.to(query.dtype), of_key, of_value, None, None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)
