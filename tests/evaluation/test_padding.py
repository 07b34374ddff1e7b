"""A model that reads padding as text completes only prompts of one length together."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bdpo.config import ModelSettings
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.padding import PaddingTrial, try_padding
from bdpo.evaluation.respond import Respondent, Task
from bdpo.models.source import resolve_model
from tests.said import Said
from tests.tiny import tiny_model, tiny_tokenizer


def save_rwkv(folder: Path) -> Path:
    """A recurrent model, which has no attention mask."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("rwkv", vocab_size=259, hidden_size=32, num_hidden_layers=2, bos_token_id=1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():  # sharp enough that the likeliest token depends on what came before
            weights.add_(torch.randn_like(weights), alpha=0.3)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text"])
def test_attention_leaves_padding_out(architecture: str) -> None:
    model = tiny_model(architecture)
    assert model.generation_config is not None
    model.generation_config.update(num_beams=3, max_time=0.0)
    assert max(try_padding(model)) < 1e-5


def test_a_model_that_gives_padded_prompts_no_number_is_one_that_reads_padding() -> None:
    model = tiny_model()

    def spoil(_: torch.nn.Module, __: Any, given: dict[str, Any], output: Any) -> Any:
        mask = given.get("attention_mask")
        if mask is not None:
            output.logits[(mask == 0).any(dim=1)] = torch.nan
        return output

    model.register_forward_hook(spoil, with_kwargs=True)
    assert not try_padding(model).is_rounding(torch.float32)


@pytest.mark.parametrize(
    ("padded", "unpadded", "is_rounding"),
    [(0.16, 0.12, True), (0.16, 0.02, False), (0.1, 0.0, True), (1.4, 2.1, False)],
)
def test_what_rounding_does_to_a_prompt_without_padding_is_allowed(
    padded: float, unpadded: float, *, is_rounding: bool
) -> None:
    """The embedded model's policies move by 0.16 in bfloat16, and were completed one length at a time."""
    assert PaddingTrial(padded, unpadded).is_rounding(torch.bfloat16) is is_rounding


def test_rounding_is_measured_beside_the_padded_prompt() -> None:
    """Here by noise wherever there are two rows."""
    model = tiny_model()

    def round_otherwise(_: torch.nn.Module, __: Any, output: Any) -> Any:
        if len(output.logits) == 2:
            output.logits += 0.15 * torch.randn(output.logits.shape)
        return output

    model.register_forward_hook(round_otherwise)
    found = try_padding(model)
    assert min(found) > 0.1
    assert found.is_rounding(torch.float32)


def test_a_model_that_reads_padding_says_beside_others_what_it_says_alone(tmp_path: Path) -> None:
    source = resolve_model(str(save_rwkv(tmp_path / "model")))
    settings = ModelSettings(
        path=source.name, dtype="float32", attention="eager", max_length=256, max_prompt_length=128
    )
    tasks = [Task(Prompt(str(n), "x" * n, "harmless", None), 8) for n in (1, 60, 9, 60, 1)]
    said = Said()

    def texts(batch_size: int, cache: str) -> list[str | None]:
        respondent = Respondent("base", source, settings, tmp_path / cache, tmp_path, said)
        return [reply.text for reply in respondent.answer(tasks, [], batch_size=batch_size).replies]

    together = texts(5, "together")
    assert together == texts(1, "alone")
    assert len(set(together)) == 3
    assert said.texts[1].startswith("evaluate: only prompts of one length are completed together, because rwkv reads")
