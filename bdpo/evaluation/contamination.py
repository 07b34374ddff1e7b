"""Evaluation prompts that training has seen: equal texts, and long runs of words in common."""

from collections.abc import Iterator, Sequence
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

    Case, punctuation and spacing do not count.  Prompts of fewer than 8 words are compared as a whole only, those
    without any word not at all.

    Args:
        entries: what is evaluated.
        pairs: `pairs.parquet`.

    Returns:
        Rows of CONTAMINATION, of prompts that share something.
    """
    asked = [(benchmark, prompt, tuple(words(prompt.text))) for benchmark, prompt in entries]
    # What is asked is small; the training messages may be millions, so they are only passed through.
    wanted_texts = {said for _, _, said in asked if said}
    wanted_runs = {run for said in wanted_texts for run in runs(said, WORDS)}
    same: set[tuple[str, ...]] = set()
    seen: set[str] = set()
    for message in _training_messages(pairs):
        said = tuple(words(message))
        same.update({said} & wanted_texts)
        seen.update(wanted_runs.intersection(runs(said, WORDS)))
    found = []
    for benchmark, prompt, said in asked:
        own = runs(said, WORDS)
        shared = sum(run in seen for run in own) / len(own) if own else 0.0
        if said in same or shared:
            found.append(
                {"benchmark": benchmark.name, "prompt_id": prompt.prompt_id, "same": said in same, "shared": shared}
            )
    return found


def _training_messages(pairs: Path) -> Iterator[str]:
    with pq.ParquetFile(pairs) as file:
        for batch in file.iter_batches(_ROWS, columns=["prompt", "split"]):
            for prompt in batch.filter(pc.field("split") == "train")["prompt"].to_pylist():
                yield from (message["content"] for message in prompt)


_ROWS = 8192
"""Training prompts in memory at a time."""
