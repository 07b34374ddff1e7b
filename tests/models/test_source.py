"""Which files a model name stands for, and what is refused."""

import json
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub.constants
import pytest
from huggingface_hub.utils._paths import filter_repo_objects

from bdpo.errors import UserError
from bdpo.models.source import require_own_code, require_trainable, resolve_model
from tests.hub_server import hub_server
from tests.tiny import save_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def refusal(path: object, revision: str | None = None) -> str:
    with pytest.raises(UserError) as raised:
        resolve_model(str(path), revision)
    return str(raised.value)


def test_a_folder_is_its_content(folder: Path, tmp_path: Path) -> None:
    source = resolve_model(str(folder))
    elsewhere = folder.rename(tmp_path / "moved")
    moved = resolve_model(str(elsewhere))
    assert (moved.weights_digest, moved.tokenizer_digest) == (source.weights_digest, source.tokenizer_digest)
    weights = elsewhere / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    after = resolve_model(str(elsewhere))
    assert after.weights_digest != source.weights_digest
    assert after.tokenizer_digest == source.tokenizer_digest


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_config_and_weights_move_the_scores(folder: Path, name: str) -> None:
    before = resolve_model(str(folder))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    after = resolve_model(str(folder))
    assert after.weights_digest != before.weights_digest
    assert after.tokenizer_digest == before.tokenizer_digest


def test_a_chat_template_moves_the_tokenizer(folder: Path) -> None:
    before = resolve_model(str(folder))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    after = resolve_model(str(folder))
    assert after.tokenizer_digest != before.tokenizer_digest
    assert after.weights_digest == before.weights_digest


def test_a_tokenizers_own_code_moves_the_tokenizer(folder: Path) -> None:
    before = resolve_model(str(folder))
    (folder / "tokenization_own.py").write_text("class Own: ...")
    after = resolve_model(str(folder))
    assert after.tokenizer_digest != before.tokenizer_digest
    assert after.weights_digest != before.weights_digest


def test_pickled_weights_are_named_and_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "holds no *.safetensors weights (found pytorch_model.bin: pickled weights are never loaded)" in message


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(tmp_path / "gone")
    assert "there is no such folder" in refusal("./gone")
    assert "is a folder, and a folder has no revisions" in refusal(folder, "main")
    (folder / "config.json").rename(folder / "other.json")
    assert "holds no config.json" in refusal(folder)
    (folder / "other.json").rename(folder / "config.json")
    (folder / "tokenizer.json").unlink()
    assert "holds no tokenizer (tokenizer.json)" in refusal(folder)


def test_a_hub_name_without_a_hub_says_what_it_could_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = refusal("nobody/nothing-at-all")
    assert "'nobody/nothing-at-all' is neither `embedded`, nor a folder, nor a model that the hub gave" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        (
            "owner/gated",
            None,
            "the model is gated; accept its terms at https://huggingface.co/owner/gated and set HF_TOKEN to a token of "
            "that account.",
        ),
        (
            "owner/mistyped",
            None,
            "the hub has no such model, or it is private and needs the token of an account that may read it "
            "(HF_TOKEN); a folder is written ./owner/mistyped.",
        ),
        ("owner/model", "v9", "the model has no revision 'v9'."),
    ],
)
def test_why_the_hub_gives_a_model_to_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, revision: str | None, said: str
) -> None:
    with hub_server({"owner/gated": None, "owner/model": {}}) as server:
        address = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        address = address.replace(huggingface_hub.constants.ENDPOINT, server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        assert refusal(name, revision) == f"model.path {name!r}: {said}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx2.ReadError(""), "ReadError"),
        (httpx2.ConnectTimeout("timed out"), "timed out"),
        (httpx2.ProxyError("503 Service Unavailable."), "503 Service Unavailable"),
        (
            RuntimeError("Data processing error: CAS service error\nand more"),
            "Data processing error: CAS service error",
        ),
    ],
)
def test_a_download_that_breaks_off_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    assert refusal("owner/model") == (
        f"model.path 'owner/model': the hub did not give the whole model ({said}); run the same command again, and it "
        "goes on from what was fetched."
    )


def test_of_a_models_two_formats_one_is_fetched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: dict[str, Any] = {}

    def fetch(*_: object, **patterns: object) -> str:
        asked.update(patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    resolve_model("owner/model")
    ours = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.model"]
    theirs = ["consolidated.safetensors", "consolidated.safetensors.index.json", "original/params.json"]
    fetched = filter_repo_objects(
        [*ours, *theirs], allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"]
    )
    assert list(fetched) == ours


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_are_never_read_move_nothing(folder: Path, sharded: bool) -> None:
    """`from_pretrained` reads `model.safetensors`, or what the index names."""
    if sharded:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        (folder / "model.safetensors.index.json").write_text("{}")
    before = resolve_model(str(folder))
    (folder / "consolidated.safetensors").write_bytes(b"the same in another format")
    assert resolve_model(str(folder)).weights_digest == before.weights_digest
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"of the model")
    assert resolve_model(str(folder)).weights_digest != before.weights_digest


@pytest.mark.parametrize("beside_a_model", [True, False])
def test_an_adapter_is_told_to_be_merged(folder: Path, beside_a_model: bool) -> None:
    (folder / "adapter_config.json").write_text("{}")
    if not beside_a_model:
        (folder / "config.json").unlink()
    assert "holds an adapter, which is no model of its own; merge the two with peft" in refusal(folder)


def test_the_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.judge\.path './gone': there is no such folder"):
        resolve_model("./gone", field="evaluate.judge.path")


def test_weights_that_another_user_alone_may_read_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be root, whom the system refuses nothing."""

    def refuse(files: list[Path]) -> str:
        raise PermissionError(13, "Permission denied", str(files[-1]))

    monkeypatch.setattr("bdpo.models.source.digest_files", refuse)
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read: permission is denied to this user"):
        resolve_model(str(folder))


def quantise(folder: Path, quantization: dict[str, Any], *, part: str | None = None) -> None:
    """Say of a model folder that its weights are quantised."""
    config = json.loads((folder / "config.json").read_text())
    (config if part is None else config.setdefault(part, {}))["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("part", [None, "text_config"])
@pytest.mark.parametrize(
    ("quantization", "held_in", "said"),
    [
        ({"quant_method": "fp8"}, None, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, None, "bitsandbytes-4bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "nf4", "bitsandbytes"),
        ({"quant_method": "mxfp4"}, "nf4", "mxfp4"),
    ],
)
def test_no_policy_is_trained_from_quantised_weights(
    folder: Path, quantization: dict[str, Any], held_in: str | None, said: str, part: str | None
) -> None:
    quantise(folder, quantization, part=part)
    with pytest.raises(UserError) as raised:
        require_trainable(resolve_model(str(folder), None, held_in))
    assert str(raised.value) == (
        f"model.path '{folder}': its weights are quantised ({said}), and a policy is trained from those that they were "
        "made from; name that model, or save this one dequantised."
    )


def test_weights_that_a_file_beside_the_config_says_are_quantised_are_not_trained(folder: Path) -> None:
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    with pytest.raises(UserError, match=r"its weights are quantised \(modelopt\)"):
        require_trainable(resolve_model(str(folder)))


def test_what_is_loaded_dequantised_or_in_the_same_four_bits_is_taken(folder: Path) -> None:
    require_trainable(resolve_model(str(folder)))
    quantise(folder, {"quant_method": "mxfp4"})
    require_trainable(resolve_model(str(folder)))
    quantise(folder, {"quant_method": "bitsandbytes", "load_in_4bit": True})
    require_trainable(resolve_model(str(folder), None, "nf4"))


def name_code(folder: Path, name: str, auto_map: object) -> None:
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(config | {"auto_map": auto_map}))


@pytest.mark.parametrize(
    ("name", "auto_map"),
    [
        ("config.json", {"AutoConfig": "own.C", "AutoModelForCausalLM": "owner/base--modeling_x.X"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.T", "owner/base--modeling_x.X"]}),
        ("tokenizer_config.json", ["owner/base--modeling_x.X", None]),
    ],
)
def test_code_of_another_repository_is_refused(folder: Path, name: str, auto_map: object) -> None:
    name_code(folder, name, auto_map)
    with pytest.raises(UserError) as raised:
        require_own_code(resolve_model(str(folder)))
    assert str(raised.value) == (
        f"model.path '{folder}': {name} in {folder} names code of another repository, 'owner/base--modeling_x.X', "
        "which may change unseen: copy the .py files of owner/base beside the weights, in a folder of your own, and "
        "take `owner/base--` out."
    )


def test_code_beside_the_weights_is_taken(folder: Path) -> None:
    require_own_code(resolve_model(str(folder)))
    name_code(folder, "config.json", {"AutoModelForCausalLM": "modeling_x.X"})
    name_code(folder, "tokenizer_config.json", {"AutoTokenizer": ["own.T", None]})
    require_own_code(resolve_model(str(folder)))
