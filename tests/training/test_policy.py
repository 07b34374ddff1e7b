"""Activation checkpointing leaves log-probs and gradients as they are; adapters start at the model."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from bdpo.errors import UserError
from bdpo.layout.rows import Layout, Row, collate
from bdpo.logprobs.forward import response_logps
from bdpo.logprobs.proof import choose_layout
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.training.policy import (
    add_adapters,
    checkpoint_activations,
    copy_state,
    describe_adapters,
    first_not_finite,
    save_adapters,
    save_policy,
)
from bdpo.training.trainer import Trainer
from tests.tiny import save_tiny, tiny_model

BATCH = collate([Row((5, 6, 7), ((9, 10, 11), (12, 13)))], Layout.PACKED)


def packed_model(architecture: str = "llama") -> PreTrainedModel:
    model = tiny_model(architecture)
    assert choose_layout(model, print) is Layout.PACKED
    return model


def gradients(model: Any) -> tuple[Tensor, list[Tensor]]:
    logps = response_logps(model, BATCH)
    torch.autograd.backward(logps.sum())
    return logps.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "qwen2"])
def test_checkpointing_changes_no_number_and_computes_layers_twice(architecture: str) -> None:
    plain, kept = packed_model(architecture), packed_model(architecture)
    checkpoint_activations(kept)
    calls: list[object] = []
    layer = next(m for m in kept.modules() if type(m).__name__.endswith(("DecoderLayer", "Block", "NeoXLayer")))
    next(iter(layer.children())).register_forward_hook(lambda *_: calls.append(None))
    expected, found = gradients(plain), gradients(kept)
    assert len(calls) == 2
    assert found[0].equal(expected[0])
    assert len(found[1]) == len(expected[1])
    assert all(one.equal(other) for one, other in zip(found[1], expected[1], strict=True))


def test_adapters_start_at_the_model_and_alone_are_trained() -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    model = packed_model()
    before = response_logps(model, BATCH).detach()
    add_adapters(model, rank=2, alpha=4, target_modules=["q_proj", "v_proj"], seed=3)
    after, _ = gradients(model)
    assert after.equal(before)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 2
    assert all("lora_" in name for name in trained)


def test_a_layer_that_is_not_there_is_named() -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    message = r"train\.lora\.target_modules \['q_proj', 'nothing'\]: no layer of the model .* is called 'nothing'\."
    with pytest.raises(UserError, match=message):
        add_adapters(tiny_model(), rank=2, alpha=4, target_modules=["q_proj", "nothing"], seed=0)


def with_embeddings(tied: bool) -> PreTrainedModel:
    config = tiny_model().config
    config.tie_word_embeddings = tied
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapters_on_one_side_of_a_tied_weight_are_refused(target: str) -> None:
    """Merged they would be another model than the trained one."""
    pytest.importorskip("peft", reason="peft is not installed")
    with pytest.raises(UserError, match=f"'{target}' is an embedding, and the model \\(llama\\) has one weight for"):
        add_adapters(with_embeddings(tied=True), rank=2, alpha=4, target_modules=["q_proj", target], seed=0)


def draw_adapters(model: PreTrainedModel) -> dict[str, Tensor]:
    """Adapters as if trained, which at their start add nothing; by name."""
    trained: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for p in trained.values():
            p.normal_(0, 0.1)
    return trained


def save(
    folder: Path,
    adapted: Any,
    trained: dict[str, Tensor],
    *,
    base: Path,
    dtype: str,
    quantization: str | None = None,
) -> None:
    """Save into the folders `adapter` and `policy`, as the trainer does."""
    save_adapters(
        folder / "adapter",
        folder / "policy",
        adapted,
        {f"base_model.model.{name}": value for name, value in copy_state(trained).items()},
        base=base,
        base_name="embedded",
        dtype=dtype,
        quantization=quantization,
        attention="sdpa",
        trust_remote_code=False,
    )


@pytest.mark.parametrize("targets", [["all-linear"], ["q_proj", "embed_tokens", "lm_head"]])
def test_the_merged_model_is_the_trained_one_and_nobody_is_asked(
    targets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    asked: list[object] = []

    def note(host: object, *_: Any, **__: Any) -> None:
        asked.append(host)
        raise OSError("no way out")

    monkeypatch.setattr("socket.getaddrinfo", note)
    base = save_tiny(tmp_path / "base")
    model = load_model(base, dtype="float32")
    adapted = add_adapters(model, rank=2, alpha=4, target_modules=targets, seed=0)
    trained = draw_adapters(model)
    with torch.no_grad():
        expected = model(BATCH.input_ids).logits
    save(tmp_path, adapted, trained, base=base, dtype="float32")
    assert asked == []
    assert len(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) == len(trained)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    with torch.no_grad():
        assert (merged(BATCH.input_ids).logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("architecture", "adapted_too", "left_out", "described"),
    [
        ("qwen2_moe", "mlp.shared_expert.up_proj", "mlp.experts.gate_up_proj", "16 tensors, of which 0 hold"),
        ("deepseek_v3", "mlp.experts.gate_up_proj", "mlp.shared_experts.up_proj", "11 tensors, of which 2 hold"),
    ],
)
def test_adapters_on_a_model_with_experts_are_merged_into_the_trained_one(
    architecture: str, adapted_too: str, left_out: str, described: str, tmp_path: Path
) -> None:
    """Which layers `all-linear` means is as `LoraSettings` says."""
    pytest.importorskip("peft", reason="peft is not installed")
    base = save_tiny(tmp_path / "base", architecture)
    model = load_model(base, dtype="float32")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = add_adapters(model, rank=2, alpha=4, target_modules=["all-linear"], seed=0)
    trained = draw_adapters(model)
    weights = sum(p.numel() for p in trained.values())
    assert describe_adapters(model) == f"Adapters: {weights:,} weights beside {described} experts."
    with torch.no_grad():
        expected = model(BATCH.input_ids).logits
    save(tmp_path, adapted, trained, base=base, dtype="float32")
    merged = load_model(tmp_path / "policy", dtype="float32")
    with torch.no_grad():
        assert (merged(BATCH.input_ids).logits - expected).abs().max() < 1e-3
    state = merged.state_dict()
    assert state.keys() == start.keys()
    moved = {name.removesuffix(".weight") for name, value in state.items() if not value.equal(start[name])}
    assert f"model.layers.1.{adapted_too}" in moved
    assert f"model.layers.1.{left_out}" not in moved


def test_a_merge_needs_no_whole_model_in_float32_and_rounds_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    base = save_tiny(tmp_path / "base")
    model = load_model(base, dtype="bfloat16")
    adapted = add_adapters(model, rank=2, alpha=6, target_modules=["q_proj"], seed=0)
    trained = draw_adapters(model)
    layer = model.model.layers[0].self_attn.q_proj
    factors = (layer.lora_B["default"].weight.float(), layer.lora_A["default"].weight.float())
    expected = (layer.base_layer.weight.float() + 3 * factors[0] @ factors[1]).bfloat16()
    untouched = "model.layers.0.self_attn.k_proj.weight"
    same = model.state_dict()[untouched].clone()
    loaded: list[PreTrainedModel] = []

    def load(*places: Any, **settings: Any) -> PreTrainedModel:
        loaded.append(load_model(*places, **settings))
        return loaded[-1]

    monkeypatch.setattr("bdpo.training.policy.load_model", load)
    save(tmp_path, adapted, trained, base=base, dtype="bfloat16")
    assert [each.dtype for each in loaded] == [torch.bfloat16]
    merged = load_file(tmp_path / "policy" / "model.safetensors")
    assert {value.dtype for value in merged.values()} == {torch.bfloat16}
    assert merged["model.layers.0.self_attn.q_proj.weight"].equal(expected)
    assert merged[untouched].equal(same)


def test_a_merge_leaves_in_float32_what_is_loaded_in_it(tmp_path: Path) -> None:
    """In bfloat16 a router's biases, which are near to each other, would be one number and choose other experts."""
    pytest.importorskip("peft", reason="peft is not installed")
    start, bias = tiny_model("deepseek_v3"), "model.layers.1.mlp.gate.e_score_correction_bias"
    start.model.layers[1].mlp.gate.e_score_correction_bias.copy_(6.9 + 0.001 * torch.arange(8))
    base = save_tiny(tmp_path / "base", model=start)
    model = load_model(base, dtype="bfloat16")
    held = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = add_adapters(model, rank=2, alpha=4, target_modules=["all-linear"], seed=0)
    save(tmp_path, adapted, draw_adapters(model), base=base, dtype="bfloat16")
    merged = load_file(tmp_path / "policy" / "model.safetensors")
    assert merged[bias].equal(held[bias])
    assert len(set(merged[bias].tolist())) == 8
    assert merged["model.layers.1.mlp.gate.weight"].dtype is torch.float32
    loaded = load_model(tmp_path / "policy", dtype="bfloat16").state_dict()
    assert {name: value.dtype for name, value in loaded.items()} == {name: value.dtype for name, value in held.items()}


@pytest.mark.parametrize("quantization", [None, pytest.param("nf4", marks=pytest.mark.slow)])
def test_a_merge_reads_the_base_when_the_trained_model_has_let_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantization: str | None
) -> None:
    """Else a GPU would need room for both after the last step."""
    pytest.importorskip("peft", reason="peft is not installed")
    if quantization is not None:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    base = save_tiny(tmp_path / "base")
    model = load_model(base, dtype="bfloat16", quantization=quantization)
    adapted = add_adapters(model, rank=2, alpha=4, target_modules=["all-linear"], seed=0)
    trained = draw_adapters(model)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    kept: list[object] = []

    def load(*places: Any, **settings: Any) -> PreTrainedModel:
        kept.extend(p for p in frozen if p.numel())
        kept.extend(part for part in (*frozen, *model.modules()) if vars(part).get("quant_state") is not None)
        return load_model(*places, **settings)

    monkeypatch.setattr("bdpo.training.policy.load_model", load)
    save(tmp_path, adapted, trained, base=base, dtype="bfloat16", quantization=quantization)
    assert frozen
    assert kept == []
    assert len(load_file(tmp_path / "policy" / "model.safetensors")) == len(load_file(base / "model.safetensors"))


@pytest.mark.parametrize("tied", [False, True])
def test_what_a_model_ties_is_saved_once(tmp_path: Path, tied: bool) -> None:
    model = with_embeddings(tied)
    save_tiny(tmp_path / "base")
    state = copy_state(model.state_dict())
    save_policy(tmp_path / "policy", model, state, base=tmp_path / "base", trust_remote_code=False)
    assert ("lm_head.weight" in load_file(tmp_path / "policy" / "model.safetensors")) is not tied
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy").state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(value.equal(loaded[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("trust_remote_code", [False, True])
def test_a_policy_has_the_tokenizer_of_its_base_to_the_byte(tmp_path: Path, trust_remote_code: bool) -> None:
    """As `transformers` 4 wrote it, which cannot read how version 5 would write it again."""
    base = save_tiny(tmp_path / "base")
    settings = {
        **{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "add_bos_token": False},
        **{"additional_special_tokens": ["<|endoftext|>"], "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
    }
    (base / "tokenizer_config.json").write_text(json.dumps(settings, indent=4))
    (base / "additional_chat_templates").mkdir()
    more = {
        **{"special_tokens_map.json": '{"pad_token": "<|im_end|>"}', "added_tokens.json": '{"<|im_end|>": 2}'},
        **{"tokenizer.model": "pieces", "vocab.json": "{}", "merges.txt": "#version: 0.2\n"},
        **{"additional_chat_templates/tool_use.jinja": "{{ tools }}", "tokenization_own.py": "OWN = 1\n"},
    }
    for name, content in more.items():
        (base / name).write_text(content)
    expected = {path.relative_to(base): path.read_bytes() for path in base.rglob("*") if path.is_file()}
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        del expected[Path(name)]
    if not trust_remote_code:
        del expected[Path("tokenization_own.py")]
    model = tiny_model()
    policy = tmp_path / "policy"
    save_policy(policy, model, model.state_dict(), base=base, trust_remote_code=trust_remote_code)
    found = {path.relative_to(policy): path.read_bytes() for path in policy.rglob("*") if path.is_file()}
    assert {Path("tokenizer.json"), Path("chat_template.jinja")} < expected.keys() < found.keys()
    assert {name: found[name] for name in expected} == expected
    assert len(found) == len(expected) + 3
    turns = [{"role": "user", "content": "a"}]
    loaded = [load_tokenizer(folder) for folder in (base, policy)]
    assert loaded[0].apply_chat_template(turns) == loaded[1].apply_chat_template(turns)
    assert loaded[1].pad_token == "<|im_end|>"


def test_a_policy_has_the_processor_of_its_base(tmp_path: Path) -> None:
    """Without it no other program loads a model that takes images."""
    base = save_tiny(tmp_path / "base")
    processors = {"preprocessor_config.json": b'{"size": {"height": 8}}', "processor_config.json": b"{ }\n"}
    for name, content in processors.items():
        (base / name).write_bytes(content)
    model = tiny_model()
    save_policy(tmp_path / "policy", model, model.state_dict(), base=base, trust_remote_code=False)
    found = {path.name: path.read_bytes() for path in (tmp_path / "policy").glob("*processor_config.json")}
    assert found == processors


def test_weights_that_the_last_update_broke_are_not_exported(tmp_path: Path) -> None:
    """Without a validation split nothing else looks at them."""
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.tensor([1.0, float("nan")])}
    assert first_not_finite({"a.weight": state["a.weight"]}) is None
    assert first_not_finite({"c.weight": torch.tensor([float("-inf")], dtype=torch.bfloat16)}) == "c.weight"
    trainer: Any = object.__new__(Trainer)
    trainer.job = SimpleNamespace(patience=None, best_metric="eval_loss")
    trainer.engine = SimpleNamespace(gather_state=lambda **_: state)
    trainer.adapted, trainer.metrics, trainer.step, trainer.folder, trainer.rank = None, [], 7, tmp_path, 0
    with pytest.raises(UserError) as raised:
        trainer._save_policy()
    assert str(raised.value) == (
        "Training stopped: `b.weight` of the trained weights is not finite after step 7: lower train.learning_rate."
    )
    assert not list(tmp_path.iterdir())
