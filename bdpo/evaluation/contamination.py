"""Evaluation prompts that training has seen: equal texts, and long runs of words in common."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.formats import Prompt
from bdpo.ngrams import OVERLAP_WORDS, WholePrompts, overlap_runs, runs, words

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
message has the words of what is asked, of an attack's goal or of a behaviour without its context, or messages in a
row those of a dialogue's turns, `shared` the share of its runs of 8 words (the goal's too), stock phrases left out,
that stand in training messages, and of a choice's options, that stand in training responses."""


class _Asked(NamedTuple):
    """An evaluation prompt, in words."""

    wordings: list[list[list[str]]]
    """Each in turns."""
    runs: list[str]
    """Of them all, each once where wordings share it."""
    option_runs: list[str]


def find_contamination(entries: Sequence[tuple[Benchmark, Prompt]], pairs: Path) -> list[dict[str, Any]]:
    """Compare evaluation prompts with the training split, and the options of choices with its responses.

    Case, punctuation and spacing do not count.  Prompts of fewer than 8 words, or of stock phrases alone, are
    compared as a whole only, those without any word not at all.

    Args:
        entries: what is evaluated.
        pairs: `pairs.parquet`.

    Returns:
        Rows of CONTAMINATION, of prompts that share something.
    """
    asked = [_asked(prompt) for _, prompt in entries]
    # What is asked is small; the training messages may be millions, so they are only passed through.
    whole = WholePrompts(turns for own in asked for turns in own.wordings)
    owners = [i for i, own in enumerate(asked) for _ in own.wordings]
    wanted = {run for own in asked for run in own.runs}
    wanted_options = {run for own in asked for run in own.option_runs}
    same: set[int] = set()
    seen: set[str] = set()
    seen_options: set[str] = set()
    for messages, responses in _training_texts(pairs, with_responses=bool(wanted_options)):
        contents = [words(message) for message in messages]
        same.update(owners[number] for number in whole.find(contents))
        for said in contents:
            seen.update(wanted.intersection(runs(said, WORDS)))
        for response in responses:
            seen_options.update(wanted_options.intersection(runs(words(response), WORDS)))
    found = []
    for i, ((benchmark, prompt), own) in enumerate(zip(entries, asked, strict=True)):
        number = len(own.runs) + len(own.option_runs)
        in_both = sum(run in seen for run in own.runs) + sum(run in seen_options for run in own.option_runs)
        if i in same or in_both:
            found.append(
                {
                    "benchmark": benchmark.name,
                    "prompt_id": prompt.prompt_id,
                    "same": i in same,
                    "shared": in_both / number if number else 0.0,
                }
            )
    return found


def _asked(prompt: Prompt) -> _Asked:
    wordings = [[words(said) for said in turns] for turns in prompt.wordings]
    options = [words(option) for option in prompt.options]
    asked, *others = [[run for said in turns for run in overlap_runs(said)] for turns in wordings]
    return _Asked(
        wordings,
        [*asked, *(run for own in others for run in own if run not in asked)],
        [run for said in options for run in overlap_runs(said)],
    )


def _training_texts(pairs: Path, *, with_responses: bool) -> Iterator[tuple[list[str], list[str]]]:
    """The messages of each training prompt, and its responses where they are asked for."""
    sides = ["chosen", "rejected"] if with_responses else []
    with pq.ParquetFile(pairs) as file:
        for batch in file.iter_batches(_ROWS, columns=["prompt", "split", *sides]):
            for row in batch.filter(pc.field("split") == "train").to_pylist():
                yield [message["content"] for message in row["prompt"]], [row[side] for side in sides]


_ROWS = 8192
"""Training prompts in memory at a time."""
