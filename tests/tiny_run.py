"""A whole run in small: a tiny random model, forty pairs, a few prompts."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import save_tiny

CATEGORIES = ("garden", "kitchen", "garage", "office")


def pair_rows(num: int) -> list[dict[str, Any]]:
    """Plain preference rows, all different, of several lengths and categories."""
    return [
        {
            "prompt": f"How do I tidy the {CATEGORIES[i % 4]} number {i}?",
            "chosen": f"Begin with shelf {i}. " + "Then sweep. " * (i % 5),
            "rejected": f"No, number {i} is not for me. " + "Sorry. " * (i % 3),
            "category": CATEGORIES[i % 4],
            "chosen_safe": True,
            "rejected_safe": i % 2 == 0,
        }
        for i in range(num)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows, one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tiny_run(folder: Path, num_pairs: int = 40, **sections: dict[str, Any]) -> Path:
    """Write a model, data and a config; the config's path.

    Args:
        folder: where everything goes, artifacts too.
        num_pairs: rows of preference data.
        sections: fields that differ from the small defaults here, by section.
    """
    save_tiny(folder / "model")
    write_jsonl(folder / "pairs.jsonl", pair_rows(num_pairs))
    prompts = [
        {"prompt": f"Tell me about {c} {label} {i}", "label": label, "category": c}
        for label in ("harmful", "harmless")
        for i in range(3)
        for c in CATEGORIES
    ]
    write_jsonl(folder / "prompts.jsonl", prompts)
    config: dict[str, dict[str, Any]] = {
        "model": {"path": "./model", "dtype": "float32", "max_length": 256, "max_prompt_length": 128},
        "ingest": {"sources": [{"path": "pairs.jsonl"}], "validation_fraction": 0.2},
        "score": {"token_budget": 1024, "shard_sequences": 16},
        "train": {"learning_rate": 1e-3, "batch_size": 8, "epochs": 1, "eval_every": 2, "checkpoint_every": 2},
        "evaluate": {"benchmarks": [{"path": "prompts.jsonl"}], "max_new_tokens": 8, "batch_size": 8},
    }
    for name, fields in sections.items():
        config[name] |= fields
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "tiny", "artifacts": "artifacts", **config}))
    return path
