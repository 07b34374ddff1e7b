"""Packed attention against attention by a mask of the whole row, in float64."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bdpo.layout.rows import Packing, Span
from bdpo.logprobs import spans
from bdpo.logprobs.attention import _attend
from bdpo.logprobs.spans import Spans

_SPANS = st.builds(Span, st.integers(1, 9), st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple))
_PACKINGS = st.builds(Packing, st.integers(0, 9), st.lists(_SPANS, min_size=1, max_size=5).map(tuple))
_TILES = st.sampled_from([1, 4, 32])


def _seen(packing: Packing, length: int, window: int | None) -> Tensor:
    """(T, T): which token sees which, token by token."""
    seen = torch.zeros(length, length, dtype=torch.bool)
    beginning = list(range(packing.beginning))
    for token in beginning:
        seen[token, [*beginning[: token + 1]][-(window or length) :]] = True
    at = packing.beginning
    for span in packing.spans:
        prompt = list(range(at, at + span.prompt))
        at += span.prompt
        rows: list[tuple[list[int], list[int]]] = [(prompt, [])]
        for inputs in span.responses:
            rows.append((list(range(at, at + inputs)), prompt))
            at += inputs
        for own, before in rows:
            for number, token in enumerate(own):
                seen[token, (beginning + before + own[: number + 1])[-(window or length) :]] = True
    return seen


@given(_PACKINGS, _TILES, st.sampled_from([None, 1, 3, 12]), st.integers(0, 3), st.integers(0, 99))
def test_packed_attention_is_that_of_a_mask_of_the_whole_row(
    packing: Packing, tile: int, window: int | None, padding: int, seed: int
) -> None:
    """Outputs and gradients, with heads that share keys, and with padding at the row's end, which gets no gradient."""
    tokens = packing.beginning + sum(span.prompt + sum(span.responses) for span in packing.spans)
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        torch.randn(1, tokens + padding, heads, 4, generator=generator, dtype=torch.float64).transpose(1, 2)
        for heads in (4, 2, 2)
    ]
    for x in inputs:
        x.requires_grad_()
    weight = torch.randn(1, tokens, 4, 4, generator=generator, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "attention_tile", lambda like: tile)
        packed = Spans(packing, tokens + padding, inputs[0])
    settings: dict[str, Any] = {"sliding_window": window, "scaling": 0.7}
    query, key, value = inputs
    found = _attend(torch.nn.Module(), query, key, value, None, packed=packed, **settings)[0][:, :tokens]
    query, key, value = (x[:, :, :tokens].repeat_interleave(4 // x.shape[1], dim=1) for x in inputs)
    scores = (query @ key.transpose(2, 3) * 0.7).masked_fill(~_seen(packing, tokens, window), -torch.inf)
    expected = (scores.softmax(-1) @ value).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    gradients = [torch.autograd.grad((output * weight).sum(), inputs) for output in (found, expected)]
    for mine, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-10, rtol=0)


def test_pieces_of_one_size_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: a beginning of 2; a prompt of 2 with responses of 2 and 1 inputs, a prompt of 1 with one of 2 and none.

    In tiles of 4: two squares, of 6 and 5 tokens, and a response of 1 that has 4 tokens before it.
    """
    monkeypatch.setattr(spans, "attention_tile", lambda like: 4)
    like = torch.zeros(())
    found = Spans(Packing(2, (Span(2, (2, 1)), Span(1, (2, 0)))), 12, like)
    assert found.groups == [spans.Group(2, 8, 8, (0, 0)), spans.Group(1, 4, 8, (4,))]
    queries, keys = found.copies(like.device)
    assert queries.sources.tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 0, 1, 7, 8, 9, 9, 9, 9, 6, 6, 6, 6]
    assert queries.places.tolist() == [0, 1, 2, 3, 4, 5, 16, 10, 11, 12, 0, 0]
    assert keys.sources.tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 0, 1, 7, 8, 9, 9, 9, 9, 0, 1, 2, 3, 6, 6, 6, 6]
    assert keys.places.tolist() == [0, 1, 2, 3, 4, 5, 20, 10, 11, 12, 0, 0]
    assert keys.tokens == 10
    assert sorted(keys.again) == [(0, 2, 8), (0, 2, 16), (2, 4, 18)]
    assert keys.rows(2)[24:28].tolist() == [1, 3, 5, 7]
    assert keys.rows_back(2)[:4].tolist() == [0, 24, 1, 25]


def test_masks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response of 2 after a prompt of 2, within a tile of 4; a square of 3 with a window of 2."""
    like = torch.zeros(())
    packed = Spans(Packing(0, (Span(2, (1, 2)),)), 5, like)
    assert packed.mask(0, None, like) is None
    assert packed.mask(0, 3, like) is None, "it hides nothing"
    windowed = packed.mask(0, 2, like)
    assert windowed is not None
    assert (windowed == 0).int().tolist() == [[[[1, 0, 0], [1, 1, 0], [0, 1, 1]]]]
    monkeypatch.setattr(spans, "attention_tile", lambda like: 4)
    packed = Spans(Packing(0, (Span(2, (1, 2)),)), 5, like)
    after_prompt = packed.mask(1, None, like)
    assert after_prompt is not None
    assert (after_prompt == 0).int().tolist() == [[[[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]]]
    elsewhere = packed.mask(1, None, like.to("meta"))
    assert elsewhere is not None
    assert elsewhere.device.type == "meta", "the layers of a spread model have masks of their own"
