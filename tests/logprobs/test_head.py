"""The output layer against a plain log-softmax in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bdpo.logprobs import head
from bdpo.logprobs.head import token_logps
from tests.tiny import tiny_model


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return (hidden @ weight.T).log_softmax(-1).gather(-1, targets[:, None])[:, 0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 300), st.integers(0, 2**31), st.sampled_from([0.1, 3.0, 60.0]))
def test_log_probs_and_gradients_by_blocks(block: int, tokens: int, seed: int, size: float) -> None:
    """Whatever the block, also where all probability lies on one token; 0 is never passed."""
    generator = torch.Generator().manual_seed(seed)
    model = tiny_model("llama")
    weight = model.get_output_embeddings().weight
    hidden = (size * torch.randn(tokens, 32, generator=generator)).requires_grad_()
    targets = torch.randint(259, (tokens,), generator=generator)
    gradient = torch.randn(tokens, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "_SMALLEST_BLOCK", block)
        patch.setattr(head, "_LARGEST_BLOCK", block)
        found = token_logps(model, hidden, targets)
        d_hidden, d_weight = torch.autograd.grad(found, [hidden, weight], gradient)
    assert (found <= 0).all()
    exact_hidden, exact_weight = (x.detach().double().requires_grad_() for x in (hidden, weight))
    expected = plain(exact_hidden, exact_weight, targets)
    wanted = torch.autograd.grad(expected, [exact_hidden, exact_weight], gradient.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-5 * size, rtol=1e-5)
    for one, other in zip((d_hidden, d_weight), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4 * max(size, 1), rtol=1e-4)


@pytest.mark.parametrize(
    "rescaling", [{}, {"final_logit_softcapping": 3.0}, {"logit_scale": 0.3}, {"logits_scaling": 4}]
)
def test_every_kind_of_output_layer_gives_the_same(rescaling: dict[str, float]) -> None:
    """A bias, Gemma's cap, Cohere's factor, Granite's divisor, and a layer that is not plain, against logits."""
    model = tiny_model("llama")
    model.config.update(rescaling)
    cap = rescaling.get("final_logit_softcapping")
    layer = nn.Linear(32, 259)
    model.set_output_embeddings(layer)
    hidden = torch.randn(40, 32, requires_grad=True)
    targets = torch.arange(40)
    parameters = [hidden, layer.weight, layer.bias]
    found = token_logps(model, hidden, targets)
    logits = layer(hidden) * rescaling.get("logit_scale", 1) / rescaling.get("logits_scaling", 1)
    expected = (logits if cap is None else (logits / cap).tanh() * cap).log_softmax(-1)[torch.arange(40), targets]
    layer.register_forward_hook(lambda *_: None)
    hooked = token_logps(model, hidden, targets)
    wanted = torch.autograd.grad(expected.sin().sum(), parameters)
    for result in (found, hooked):
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
        for one, other in zip(torch.autograd.grad(result.sin().sum(), parameters), wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_softmax_of_bfloat16_logits_is_in_float32() -> None:
    """In bfloat16 it would be off by up to half its last place, 0.016 nats of 4, at every token."""
    torch.manual_seed(0)
    model = tiny_model("llama")
    layer = nn.Linear(32, 259).bfloat16()
    model.set_output_embeddings(layer)
    hidden, targets = 3 * torch.randn(192, 32).bfloat16(), torch.arange(192)
    with torch.no_grad():
        expected = layer(hidden).double().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        found = token_logps(model, hidden, targets)
        layer.register_forward_hook(lambda *_: None)
        hooked = token_logps(model, hidden, targets)
    for result in (found, hooked):
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=0)


def test_frozen_weights_get_no_gradient() -> None:
    model = tiny_model("llama").requires_grad_(requires_grad=False)
    hidden = torch.randn(5, 32, requires_grad=True)
    torch.autograd.backward(token_logps(model, hidden, torch.arange(5)).sum())
    assert hidden.grad is not None
    assert model.get_output_embeddings().weight.grad is None
