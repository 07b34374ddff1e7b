"""Tiny random models with a byte-level tokenizer and a chat template, for tests."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""As Qwen3 has it: the answered turn has empty thoughts, the prompt has them where it is told that there are none."""
ALWAYS_THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""As DeepSeek-R1's distillates have it: an answer to come begins with thoughts, and one that is there has none."""
EMPTY_THOUGHTS = ALWAYS_THINKING.replace(
    "{{ message['role'] }}\n",
    "{{ message['role'] }}\n{% if message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}",
)
"""As Qwen3-Thinking-2507 has it: the thoughts of an answer that is there are empty."""
BUDGETED = "{% if not thinking_budget is defined %}{% set thinking_budget = -1 %}{% endif %}" + CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if thinking_budget == 0 %}<seed:think>\n</seed:think>{% endif %}{% endif %}",
)
"""As Seed-OSS has it: told not to think, it begins an answer to come with empty thoughts, one that is there not."""
CHANNELS = (
    CHATML.replace("{{ message['role'] }}\n", "{{ message['role'] }}{{ channel }}")
    .replace("<|im_start|>assistant\n", "<|im_start|>assistant")
    .replace("<|im_start|>{{", "{% set channel = '<|channel|>final<|message|>' if message['role'] == 'assistant' "
             "else '\n' %}<|im_start|>{{")
)  # fmt: skip
"""As gpt-oss has it: an answer stands in the final channel, and the model is asked to name one."""
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

_SMALL: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": None},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 16},
    "gemma3_text": {"head_dim": 8, "sliding_window": 16},
    "phi3": {"pad_token_id": 0},
    "gpt_neox": {},
    "gpt2": {},
    "gpt_oss": {"intermediate_size": 32, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "falcon_h1": {
        "embedding_multiplier": 5.0,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 16,
    },
    "ernie4_5_moe": {"moe_intermediate_size": 16, "moe_num_experts": 4, "moe_k": 2},
    "qwen2_moe": {
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 24,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
    "deepseek_v3": {
        "moe_intermediate_size": 16,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
        "kv_lora_rank": 16,
        "q_lora_rank": None,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
}


def tiny_tokenizer(chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """One token a byte, pad = eos = `<|im_end|>` as in many real models."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIALS, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_model(architecture: str = "llama", seed: int = 0, layers: int = 2, **more: Any) -> PreTrainedModel:
    """A random model of 259 tokens, 32 wide, with weights large enough for peaked distributions; `more` of a config."""
    settings: dict[str, Any] = {
        "vocab_size": 259,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "initializer_range": 0.2,
    }
    if architecture in ("gpt2", "gpt_neox"):
        del settings["num_key_value_heads"]
    if architecture == "gpt2":
        settings |= {"n_embd": 32, "n_layer": layers, "n_head": 4, "n_positions": 2048}
        for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
            del settings[key]
    config = AutoConfig.for_model(architecture, **(settings | _SMALL[architecture] | more))
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


def save_tiny(
    folder: Path, architecture: str = "llama", seed: int = 0, *, model: PreTrainedModel | None = None
) -> Path:
    """Save a tiny model, or one that is given, and its tokenizer as a model folder."""
    (tiny_model(architecture, seed) if model is None else model).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
