"""What the graph calls to compute a stage: each stage's own function, and the part of a run that it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdpo.artifacts.pieces import Pieces
from bdpo.config import Config
from bdpo.fingerprints import Stage
from bdpo.models.source import ModelSource
from bdpo.progress import Progress
from bdpo.schemas import Checks

if TYPE_CHECKING:
    from bdpo.scoring.fill import Scoring


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a run has for a stage."""

    config: Config
    source: ModelSource
    """The reference model's own files."""
    inputs: Mapping[Stage, Path]
    """Folders of the artifacts that the stage reads."""
    cache: Callable[[str], Path]
    """Folder of pieces that outlive an artifact, by name."""
    remote_cache: Callable[[str, Path], Pieces | None]
    """Pieces of that name that other machines made, beside those of a folder here; None without a remote store."""
    workdir: Path
    """Where the stage's files go."""
    afresh: bool
    """The user forces the stage: `score` takes no sequence on trust that other runs scored; completions are kept."""
    checks: Checks
    progress: Progress


def compute(stage: Stage, context: StageContext) -> dict[str, Any]:
    """Compute a stage; its files are then in `workdir`.

    Returns:
        The summary for its manifest.

    Raises:
        UserError: the user's data, settings or disk are at fault.
    """
    # Stages import torch and more, which takes seconds that a cached run should not spend.
    match stage:
        case "ingest":
            from bdpo.data.overlap import EvaluationPrompt
            from bdpo.data.stage import ingest
            from bdpo.evaluation.benchmarks import load_benchmark
            from bdpo.models.loading import load_tokenizer

            benchmarks = [
                load_benchmark(file.path, format_name=None if file.format == "auto" else file.format)
                for file in context.config.ingest.evaluation_prompts
            ]

            return ingest(
                settings=context.config.ingest,
                model=context.config.model,
                tokenizer=load_tokenizer(
                    context.source.folder, trust_remote_code=context.config.model.trust_remote_code
                ),
                workdir=context.workdir,
                checks=context.checks,
                progress=context.progress,
                evaluation_prompts=[
                    EvaluationPrompt(f"{prompt.prompt_id} of {benchmark.name}", turns)
                    for benchmark in benchmarks
                    for prompt in benchmark.prompts
                    for turns in prompt.wordings
                ],
            )
        case "score":
            from bdpo.scoring.stage import score

            return score(_scoring(context), context.checks)
        case "train":
            from bdpo.training.stage import train

            return train(
                settings=context.config.train,
                model=context.config.model,
                source=context.source,
                pairs=context.inputs["ingest"],
                scores=context.inputs.get("score"),
                workdir=context.workdir,
                progress=context.progress,
            )
        case "evaluate":
            from bdpo.evaluation.stage import evaluate

            return evaluate(
                settings=context.config.evaluate,
                model=context.config.model,
                source=context.source,
                pairs=context.inputs["ingest"],
                scores=context.inputs.get("score"),
                trained=context.inputs["train"],
                cache=context.cache("generations"),
                workdir=context.workdir,
                checks=context.checks,
                progress=context.progress,
            )


def compute_share(share: str, context: StageContext) -> dict[str, int]:
    """Score a part of the pairs' sequences, such as `2/4`, into the cache; no artifact comes of it.

    Returns:
        Counts of the share.

    Raises:
        UserError: it is no share, or the user's data, settings or disk are at fault.
    """
    from bdpo.scoring.shares import Share
    from bdpo.scoring.stage import score_share

    return score_share(_scoring(context), Share.parse(share))


def _scoring(context: StageContext) -> "Scoring":
    from bdpo.scoring.fill import Scoring

    return Scoring(
        settings=context.config.score,
        model=context.config.model,
        source=context.source,
        pairs=context.inputs["ingest"],
        cache=context.cache("sequences"),
        remote=partial(context.remote_cache, "sequences"),
        workdir=context.workdir,
        afresh=context.afresh,
        progress=context.progress,
    )
