"""What intervals and p do not know of the prompts that several runs are compared on: what each run's report says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from bdpo.artifacts.manifest import Manifest
from bdpo.evaluation.summary import WORDS


class Caveats(NamedTuple):
    """Of one evaluation."""

    limited_from: Mapping[tuple[str, str], int]
    """(benchmark, metric) to the number of its prompts, of figures that only some were asked of."""
    dependent: frozenset[str]
    """Benchmarks whose items are not independent."""
    seen: frozenset[tuple[str, str]]
    """(benchmark, prompt id) of what stands in its training data, word for word."""


def read_caveats(folder: Path, manifest: Manifest) -> Caveats:
    """What an evaluation noted.

    Args:
        folder: of the artifact.
        manifest: of the same.
    """
    figures = pq.read_table(folder / "eval_summary.parquet", columns=["benchmark", "metric", "limited_from"])
    limited = {(row["benchmark"], row["metric"]): row["limited_from"] for row in figures.to_pylist()}
    shared = pq.read_table(folder / "contamination.parquet", columns=["benchmark", "prompt_id", "same"]).to_pylist()
    return Caveats(
        {figure: number for figure, number in limited.items() if number is not None},
        frozenset(manifest.summary.get("independent", {})),
        frozenset((row["benchmark"], row["prompt_id"]) for row in shared if row["same"]),
    )


def shown_caveats(
    known: Sequence[Caveats],
    asked: Mapping[tuple[str, str], Sequence[str]],
    verdicts: Mapping[tuple[str, str], Sequence[Sequence[bool | None]]],
) -> list[str]:
    """The caveats in words, each with its count.

    Args:
        known: of each run.
        asked: (benchmark, metric) to the ids of the prompts that are compared.
        verdicts: the same to each model's verdicts on them.
    """
    shown = []
    for (benchmark, metric), of_models in verdicts.items():
        by_prompt = [[verdict is None for verdict in own] for own in zip(*of_models, strict=True)]
        # Where no model has any, what is asked may be the reason, and not what is said.
        if number := sum(any(missing) and not all(missing) for missing in by_prompt):
            shown.append(
                f"some model has no verdict on {number} of {len(by_prompt)} prompts of {benchmark}, {WORDS[metric]}, "
                "which are not compared: what a judge or its filter declines, it declines for what is said"
            )
    for figure, ids in asked.items():
        available = max(own.limited_from.get(figure, 0) for own in known)
        if available > len(ids):
            shown.append(f"{figure[0]}, {WORDS[figure[1]]}, is a first look at {len(ids)} of {available} prompts")
    seen = frozenset[tuple[str, str]]().union(*(own.seen for own in known))
    for benchmark in dict.fromkeys(benchmark for benchmark, _ in asked):
        if any(benchmark in own.dependent for own in known):
            shown.append(f"the items of {benchmark} are not independent")
        own_ids = {i for (name, _), ids in asked.items() if name == benchmark for i in ids}
        if number := sum((benchmark, i) in seen for i in own_ids):
            shown.append(f"of {benchmark} {number} of {len(own_ids)} prompts stand in training data, word for word")
    return shown
