"""Compiled layers against plain one-row forwards of the model as it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module  # type: ignore[import-untyped]
from torch import _dynamo
from torch._dynamo.utils import counters
from torch._inductor import config as inductor
from transformers.models.llama.modeling_llama import LlamaMLP

from bdpo.errors import UserError
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs import choose_layout, compile_layers, compiled
from bdpo.logprobs.compiled import with_compiler
from tests.logprobs.test_forward import ROWS_OF_ALL_KINDS, ids, in_order, one_by_one
from tests.tiny import tiny_model


@pytest.fixture(autouse=True)
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With nothing compiled before, and the process's settings put back."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    _dynamo.reset()
    with _dynamo.config.patch(), inductor.patch():
        yield
    _dynamo.reset()


@pytest.mark.parametrize(
    "architecture",
    [
        "llama",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3", "gpt_neox", "gpt2")
        ),
    ],
)
def test_compiled_layers_agree_with_the_models_own_forward_and_are_compiled_once(architecture: str) -> None:
    """Whatever the lengths, which a restart meets in another order; Gemma 2 has plain rows."""
    model = tiny_model(architecture)
    layout = choose_layout(model, lambda line: None)
    assert layout is (Layout.PLAIN if architecture == "gemma2" else Layout.PACKED)
    rows = [[Row(ids(start, 99) + row.prompt_ids, row.responses) for row in ROWS_OF_ALL_KINDS] for start in (0, 21)]
    expected = [one_by_one(model, some) for some in rows]
    before = counters["stats"]["unique_graphs"]
    compile_layers(model, layout, max_length=500)
    compiled_in_all = counters["stats"]["unique_graphs"]
    assert compiled_in_all > before
    for some, wanted in zip(rows, expected, strict=True):
        for token_budget in (1, 150, 10_000):
            found = in_order(model, some, token_budget, layout)
            torch.testing.assert_close(torch.cat(found), wanted, atol=1e-5, rtol=0)
    assert counters["stats"]["unique_graphs"] == compiled_in_all


def test_without_a_compiler_there_is_a_sentence(tmp_path: Path) -> None:
    model = tiny_model()
    layout = choose_layout(model, print)
    with (
        inductor.patch({"cpp.cxx": (str(tmp_path / "none"),)}),
        pytest.raises(UserError, match=r"model\.compile: the layers of this model \(llama\) cannot be compiled here: "),
    ):
        compile_layers(model, layout, max_length=500)


def test_layers_that_have_no_name_are_refused() -> None:
    model = tiny_model()
    model._no_split_modules = None
    with pytest.raises(UserError, match=r"the model \(llama\) does not name its layers; set it to false"):
        compile_layers(model, Layout.PACKED, max_length=500)


def test_layers_that_compute_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "largest_difference", lambda *_: float("nan"))
    model = tiny_model()
    layout = choose_layout(model, print)
    with pytest.raises(UserError, match=r"differ by nan nats a token, where 0\.001 is allowed; set it to false"):
        compile_layers(model, layout, max_length=500)


def test_layers_that_are_compiled_anew_for_every_length_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that take their tokens in chunks, by a loop that is unrolled: Qwen3-Next, RecurrentGemma."""
    whole = LlamaMLP.forward

    def in_chunks(self: LlamaMLP, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([whole(self, x[:, start : start + 64]) for start in range(0, x.shape[1], 64)], dim=1)

    monkeypatch.setattr(LlamaMLP, "forward", in_chunks)
    model = tiny_model(layers=1)
    layout = choose_layout(model, print)
    with pytest.raises(UserError, match=r"of this model \(llama\) are compiled anew for nearly every length; set it"):
        compile_layers(model, layout, max_length=500)


def test_layers_that_want_too_many_compilations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_VARIANTS", 0)
    model = tiny_model(layers=1)
    layout = choose_layout(model, print)
    with pytest.raises(UserError, match="are compiled anew for nearly every length"):
        compile_layers(model, layout, max_length=500)


def test_too_many_compilations_later_are_a_sentence_and_others_have_their_own_settings() -> None:
    model = tiny_model(layers=1)
    plain = _dynamo.config.recompile_limit
    with with_compiler(model):
        assert _dynamo.config.recompile_limit == plain
    compile_layers(model, choose_layout(model, print), max_length=500)
    assert (_dynamo.config.recompile_limit, _dynamo.config.fail_on_recompile_limit_hit) == (plain, False)
    with with_compiler(model):
        assert (_dynamo.config.fail_on_recompile_limit_hit, inductor.compile_threads) == (True, 1)
    with pytest.raises(UserError, match=r"this model \(llama\) are compiled anew"), with_compiler(model):
        raise _dynamo.exc.FailOnRecompileLimitHit("cache_size_limit")


def test_a_model_on_several_devices_is_refused() -> None:
    model = tiny_model()
    add_hook_to_module(model.model.layers[0].mlp, AlignDevicesHook("cpu"))
    with pytest.raises(UserError, match=r"is spread over several devices, .* set it to false"):
        compile_layers(model, Layout.PACKED, max_length=500)


def test_a_cpu_that_is_slow_in_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "cpu_is_fast_in_bfloat16", lambda: False)
    with pytest.raises(UserError, match=r"this CPU is slow in bfloat16, .* set it to false, or set model\.dtype="):
        compile_layers(tiny_model().to(torch.bfloat16), Layout.PACKED, max_length=500)
