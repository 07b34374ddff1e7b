"""Evaluation prompts that training has seen: equal texts, and long runs of words in common."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.formats import Prompt

WORDS = 8
"""Length of a run of words that two prompts hardly share by chance."""

CONTAMINATION = pa.schema(
    [
        ("benchmark", pa.string()),
        ("prompt_id", pa.string()),
        ("same", pa.bool_()),
        ("shared", pa.float64()),
    ]
)
"""`contamination.parquet`, one row an evaluation prompt that shares something: `same` where a training
message has the same words, `shared` the share of the prompt's 8-word runs that stand in training messages."""


def find_contamination(entries: Sequence[tuple[Benchmark, Prompt]], pairs: Path) -> list[dict[str, Any]]:
    """Compare evaluation prompts with the prompts of the training split.

    Case, punctuation and spacing do not count.  Prompts of fewer than 8 words are compared as a whole only.

    Args:
        entries: what is evaluated.
        pairs: `pairs.parquet`.

    Returns:
        Rows of CONTAMINATION, of prompts that share something.
    """
    table = pq.read_table(pairs, columns=["prompt", "split"])
    messages = {
        tuple(_words(message["content"]))
        for prompt in table.filter(pc.field("split") == "train")["prompt"].to_pylist()
        for message in prompt
    }
    runs = {run for message in messages for run in _runs(message)}
    found = []
    for benchmark, prompt in entries:
        words = tuple(_words(prompt.text))
        own = _runs(words)
        shared = sum(run in runs for run in own) / len(own) if own else 0.0
        same = words in messages
        if same or shared:
            found.append({"benchmark": benchmark.name, "prompt_id": prompt.prompt_id, "same": same, "shared": shared})
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
