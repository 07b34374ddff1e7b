"""What packed attention asks of a GPU's kernels, and what it refuses to leave out."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bdpo.layout.rows import Packing, Span
from bdpo.logprobs import attention
from bdpo.logprobs.spans import Spans

_BF16, _FP32 = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("dtype", "key_width", "value_width", "with_mask", "shares"),
    [
        (_BF16, 128, 128, False, True),
        (_BF16, 256, 256, False, True),
        (_BF16, 128, 128, True, False),
        (_FP32, 128, 128, False, False),
        (_BF16, 512, 512, False, False),
        (_BF16, 192, 128, False, False),
    ],
)
def test_keys_are_shared_on_a_gpu_where_flash_attention_takes_them(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, key_width: int, value_width: int, with_mask: bool, shares: bool
) -> None:
    """Elsewhere PyTorch would fall back to a table of all scores; tensors on `meta` stand for those of a GPU."""
    asked: dict[str, Any] = {}

    def sdpa(query: Tensor, key: Tensor, value: Tensor, *, enable_gqa: bool, **settings: Any) -> Tensor:
        asked.update(heads=key.shape[1], enable_gqa=enable_gqa)
        return query

    monkeypatch.setattr(attention, "scaled_dot_product_attention", sdpa)
    with torch.device("meta"):
        query, key = torch.empty(3, 8, 64, key_width, dtype=dtype), torch.empty(3, 2, 64, key_width, dtype=dtype)
        value = torch.empty(3, 2, 64, value_width, dtype=dtype)
        mask = torch.empty(3, 1, 64, 64, dtype=dtype) if with_mask else None
    attention._sdpa(query, key, value, mask, None)
    assert asked == ({"heads": 2, "enable_gqa": True} if shares else {"heads": 8, "enable_gqa": False})


@pytest.mark.parametrize(
    ("added", "what"),
    [
        ({"position_bias": torch.zeros(1, 2, 5, 5)}, "has no position_bias"),
        ({"sinks": torch.zeros(2)}, "has no sinks"),
        ({"softcap": 30.0}, "has no softcap"),
        ({"attention_mask": torch.zeros(1, 1, 5, 5)}, "takes no mask of a layer's own"),
    ],
)
def test_what_a_layer_adds_to_attention_is_refused_and_not_left_out(added: dict[str, Any], what: str) -> None:
    tokens = torch.randn(1, 2, 5, 8)
    spans = Spans(Packing(0, (Span(2, (3,)),)), 5, tokens)
    given: dict[str, Any] = {"attention_mask": torch.zeros(1, 1, 1, 1), "packed": spans, "softcap": None}
    attention._attend(torch.nn.Identity(), tokens, tokens, tokens, **given)
    with pytest.raises(ValueError, match=what):
        attention._attend(torch.nn.Identity(), tokens, tokens, tokens, **(given | added))
