"""Loading: safetensors only, whole, and in one sentence otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from bdpo.errors import UserError
from bdpo.models.loading import devices_for, load_model, load_tokenizer
from bdpo.models.source import resolve_model
from tests.tiny import CHATML, save_tiny, tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as raised:
        load_model(folder, dtype="float32")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_model_is_in_its_dtype_and_without_dropout(folder: Path, dtype: str, expected: torch.dtype) -> None:
    model = load_model(folder, dtype=dtype)
    assert model.dtype is expected
    may_plan: Any = torch.backends.cuda.cudnn_sdp_enabled
    assert not may_plan(), "it would plan for every new pair of lengths"
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mxfp4_weights_are_loaded_as_what_they_stand_for(tmp_path: Path, dtype: str) -> None:
    """Of weights in blocks of 32 with one exponent: here all are 1 (code 2) times 2 to the power of -3 (code 124)."""
    folder = save_tiny(tmp_path / "model", "gpt_oss")
    state = load_file(folder / "model.safetensors")
    for name in [name for name in state if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, rows, columns = state.pop(name).shape
        state[f"{name}_blocks"] = torch.full((experts, columns, rows // 32, 16), 0x22, dtype=torch.uint8)
        state[f"{name}_scales"] = torch.full((experts, columns, rows // 32), 124, dtype=torch.uint8)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "mxfp4"}}))
    model = load_model(folder, dtype=dtype, attention="eager")
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert set(model.model.layers[0].mlp.experts.down_proj.flatten().tolist()) == {0.125}
    assert not hasattr(model.config, "quantization_config"), "it would be saved with the policy"


def test_a_cpu_is_prepared_for_bfloat16_where_a_model_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    monkeypatch.setattr("bdpo.models.loading.prepare_bfloat16_products", lambda: prepared.append(True))
    load_model(folder, dtype="float32")
    assert not prepared
    load_model(folder, dtype="bfloat16")
    assert prepared


@pytest.mark.parametrize(
    ("free", "dtype", "devices"),
    [(5, "float32", {"": "cuda:0"}), (3, "float32", "auto"), (3, "bfloat16", {"": "cuda:0"})],
)
def test_a_model_is_spread_over_gpus_only_where_one_has_no_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, dtype: str, devices: object
) -> None:
    """`free`: times the size of its files, which may be bfloat16."""
    source = resolve_model(str(folder))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * size, 8 * size))
    assert devices_for(source, dtype) == devices


def test_a_truncated_file_is_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert refusal(folder).startswith(f"The model in {folder} cannot be loaded: ")


def test_a_missing_weight_is_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "lacks 1 weights that its config asks for, the first is 'model.layers.1.mlp.up_proj.weight'" in refusal(
        folder
    )


@pytest.mark.parametrize("scale", ["weight_scale", "weight_scale_inv", "weight_scale_2"])
def test_quantised_weights_are_not_read_without_their_scales(folder: Path, scale: str) -> None:
    """As ModelOpt writes fp8: the weights keep their names and shapes, and no setting says what they are."""
    state = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    state[f"{name}.weight"] = state[f"{name}.weight"].to(torch.float8_e4m3fn)
    state[f"{name}.{scale}"] = torch.tensor(0.01)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert f"({name + '.' + scale!r} would be left out)" in refusal(folder)


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    hostile = '{"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},' + config.lstrip()[1:]
    (folder / "config.json").write_text(hostile.replace('"model_type": "llama"', '"model_type": "evil"'))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    assert refusal(folder)
    assert not (folder / "ran").exists()


def test_a_tokenizer_without_a_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template; use an instruct model"):
        load_tokenizer(folder)


SENTENCEPIECES = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"


@pytest.mark.parametrize(("content", "told"), [(SENTENCEPIECES, True), (b"IQ== 0\nIg== 1\n", False)])
def test_a_tokenizer_of_sentencepieces_without_it_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: bool
) -> None:
    """As HarmBench's judge has it; `transformers` names tiktoken, whose files have the same name."""
    monkeypatch.setattr("bdpo.models.loading.find_spec", lambda _: None)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    (folder / "tokenizer.model").write_bytes(content)
    with pytest.raises(UserError, match=f"^The tokenizer in {folder} cannot be loaded: ") as refused:
        load_tokenizer(folder)
    assert str(refused.value).endswith("which is not installed: `pip install sentencepiece`.") is told


def test_mistrals_own_tokenizer_beside_a_models_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if mistral_common were installed, which `transformers` asks when it is imported and again here."""
    monkeypatch.setitem(TOKENIZER_MAPPING_NAMES, "mistral", "MistralCommonBackend")
    monkeypatch.setattr("transformers.integrations.mistral.tokenizer.is_mistral_common_available", lambda: True)
    folder = save_tiny(tmp_path / "mistral", "mistral")
    (folder / "tekken.json").write_text("{}")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.chat_template == CHATML
    assert tokenizer("as bytes")["input_ids"] == tiny_tokenizer()("as bytes")["input_ids"]


def test_named_templates_without_a_default_are_refused(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text(template)
    with pytest.raises(UserError, match="has the chat templates tools and none by the name of default"):
        load_tokenizer(folder)


def test_a_family_without_sdpa_says_which_setting_to_change(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "gemma", "gemma2")
    assert refusal(folder) == f"The model in {folder} has no SDPA attention: set model.attention=eager."
    assert load_model(folder, dtype="float32", attention="eager").config.model_type == "gemma2"


@pytest.mark.parametrize("content", ["{}", "[]", '{"model": {"type": "Unheard-of"}}'])
def test_a_tokenizer_of_an_unknown_kind_is_refused_in_a_sentence(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"^The tokenizer in .* cannot be loaded: "):
        load_tokenizer(folder)
