"""Evaluation prompts that training has seen: equal texts, and long runs of words in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.formats import Prompt
from bdpo.ngrams import OVERLAP_WORDS, runs, words

WORDS = OVERLAP_WORDS

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
        tuple(words(message["content"]))
        for prompt in table.filter(pc.field("split") == "train")["prompt"].to_pylist()
        for message in prompt
    }
    seen = {run for message in messages for run in runs(message, WORDS)}
    found = []
    for benchmark, prompt in entries:
        said = tuple(words(prompt.text))
        own = runs(said, WORDS)
        shared = sum(run in seen for run in own) / len(own) if own else 0.0
        same = said in messages
        if same or shared:
            found.append({"benchmark": benchmark.name, "prompt_id": prompt.prompt_id, "same": same, "shared": shared})
    return found
