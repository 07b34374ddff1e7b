"""Attention over packed rows, span by span.

`transformers` looks an attention up by name.  The one registered here is SDPA, and
where a batch is packed it is SDPA of each span alone: a prompt and its first response
are one causal call, behind the beginning that all prompts share; a further response
attends to its prompt and itself.  No mask of the whole row exists, and no two rows meet.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Module
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bdpo.layout.rows import Packing
from bdpo.logprobs.tiles import in_tiles, tile_padding

_NAME = "bdpo_packed"
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Spans:
    """How a row is packed, and the masks that all layers share."""

    def __init__(self, packing: Packing) -> None:
        self.packing = packing
        self._masks: dict[tuple[int, int, int | None, torch.device], Tensor] = {}

    def mask(self, queries: int, keys: int, window: int | None, like: Tensor) -> Tensor | None:
        """An addend for the last `queries` of `keys` tokens, each of which sees itself and what precedes it.

        Args:
            queries: Q.
            keys: K.
            window: of so many tokens only, itself included; None for all.
            like: gives dtype and device.

        Returns:
            (Q, K), each of them up to a whole tile, or None where plain causal attention says the same.
        """
        if window is not None and window >= keys:
            window = None
        if queries == keys and window is None:
            return None
        # Of a model that is spread over several devices all layers share them.
        name = queries, keys, window, like.device
        found = self._masks.get(name)
        if found is None:
            last = keys + tile_padding(queries, like)
            position = torch.arange(keys - queries, last, device=like.device)[:, None]
            key = torch.arange(keys + tile_padding(keys, like), device=like.device)
            hidden = key > position
            if window is not None:
                hidden |= key <= position - window
            found = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)
            self._masks[name] = found
        return found


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
    """(1, heads, T, channels) queries, keys and values to (1, T, heads, channels); 0 for what is in no span."""
    if packed is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)[0]
        return output, None
    if settings.get("softcap") is not None:
        raise ValueError("SDPA has no softcap")
    window, scale = settings.get("sliding_window"), settings.get("scaling")
    beginning, spans = packed.packing
    # Cut once: the gradient of one split is one concatenation, that of many slices as many whole tensors.
    cuts = [beginning, *(n for span in spans for n in (span.prompt + span.responses[0], *span.responses[1:]))]
    padding = query.shape[2] - sum(cuts)
    pieces = zip(*(torch.split(x, [*cuts, padding], dim=2) for x in (query, key, value)), strict=True)
    first = next(pieces)
    outputs: list[Tensor] = []
    for number, span in enumerate(spans):
        # The prompt and its first response, behind the common beginning: a square, which needs no mask.
        own = next(pieces)
        q, k, v = (_behind(one, other) for one, other in zip(first, own, strict=True))
        output = _sdpa(q, k, v, packed.mask(q.shape[2], q.shape[2], window, query), scale)
        outputs.append(output if number == 0 else output[:, :, beginning:])
        keys, values = (x[:, :, : beginning + span.prompt] for x in (k, v))
        for inputs in span.responses[1:]:
            q, k, v = next(pieces)
            if inputs:
                k, v = _behind(keys, k), _behind(values, v)
                outputs.append(_sdpa(q, k, v, packed.mask(inputs, k.shape[2], window, query), scale))
    outputs.append(query.new_zeros(1, query.shape[1], padding, value.shape[3]))
    return torch.cat([output.transpose(1, 2) for output in outputs], dim=1), None


def _behind(one: Tensor, other: Tensor) -> Tensor:
    """(1, heads, a, channels) and (1, heads, b, channels) to (1, heads, a + b, channels)."""
    return torch.cat([one, other], dim=2) if one.shape[2] else other


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Causal where there is no mask; a mask may be padded to whole tiles."""
    groups = query.shape[1] // key.shape[1]
    on_cpu = query.device.type == "cpu"
    has_gradient = torch.is_grad_enabled() and query.requires_grad
    # The kernel takes values as wide as keys alone, which DeepSeek's are not.
    if on_cpu and query.dtype == torch.bfloat16 and has_gradient and value.shape[-1] == key.shape[-1]:
        output: Tensor = _BFloat16OnCpu.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
        return output
    if groups > 1 and mask is not None and not on_cpu:
        # A GPU's kernels share keys among heads or take a mask, not both.
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        groups = 1
    length = query.shape[2]
    # Neither causal attention nor its masks let a token see what is added behind it.
    query, key, value = (in_tiles(x, 2) for x in (query, key, value))
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=groups > 1
    )[:, :, :length]


class _BFloat16OnCpu(torch.autograd.Function):
    """SDPA as ever, and its gradient in float32: of short rows that takes half the time of bfloat16's kernel."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
    ) -> Tensor:
        tiled = _FLASH(*(in_tiles(x, 2) for x in (query, key, value)), 0.0, mask is None, attn_mask=mask, scale=scale)
        output, logsumexp = (x[:, :, : query.shape[2]] for x in tiled)
        if mask is not None:
            mask = mask[: query.shape[2], : key.shape[2]]
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
