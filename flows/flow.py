"""The flow `bdpo`: ingest, score, train, evaluate, a task a stage.

It decides nothing about data or models: it wires checks and progress into
`bdpo.pipeline` and shows in Prefect what the pipeline says.

This file must not be named like a package that it imports: a worker loads it under
its bare name, and a `bdpo.py` would hide the package `bdpo`.
"""

import re
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.assets import Asset, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.flow_runs import suspend_flow_run
from prefect.states import Completed, Failed

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.pipeline import Pipeline, StageResult
from bdpo.progress import Progress
from data_checks import GreatExpectationsChecks
from flows.progress import PrefectProgress, both

Stage = Literal["ingest", "score", "train", "evaluate"]


def _run(pipeline: Pipeline, stage: Stage, force: bool, shown: Progress | None) -> State[Any]:
    """Run a stage and say how it went as a Prefect state."""
    progress = PrefectProgress(stage)
    try:
        result = pipeline.run_stage(stage, force=force, progress=both(progress, shown))
    except UserError as error:
        return Failed(message=str(error), data=error)
    progress.finish()
    _publish(result)
    if result.cached:
        origin = f", fetched from {result.fetched_from}" if result.fetched_from else ""
        return Completed(name="Cached", message=f"cached: {result.artifact}{origin}", data=result)
    return Completed(message=f"computed, because {'; '.join(result.reasons)}: {result.artifact}", data=result)


def ingest(pipeline: Pipeline, force: bool, shown: Progress | None) -> State[Any]:
    """Raw rows to validated pairs."""
    return _run(pipeline, "ingest", force, shown)


def score(pipeline: Pipeline, force: bool, shown: Progress | None) -> State[Any]:
    """Pairs to log-probs under the reference model."""
    return _run(pipeline, "score", force, shown)


def train(pipeline: Pipeline, force: bool, shown: Progress | None) -> State[Any]:
    """Pairs and scores to an aligned model."""
    return _run(pipeline, "train", force, shown)


def evaluate(pipeline: Pipeline, force: bool, shown: Progress | None) -> State[Any]:
    """Base model against aligned model."""
    return _run(pipeline, "evaluate", force, shown)


_WORK = {"ingest": ingest, "score": score, "train": train, "evaluate": evaluate}
_MADE = {"ingest": "pairs", "score": "scores", "train": "policy", "evaluate": "report"}
"""What each stage makes: the last part of its asset's key."""


def _asset(pipeline: Pipeline, stage: str) -> Asset:
    return Asset(key=f"bdpo://{pipeline.config.name}/{_MADE[stage]}")


def _raw_assets(pipeline: Pipeline) -> list[Asset]:
    """The outside data that ingestion reads."""
    sources = pipeline.config.ingest.sources
    places = [f"hf://datasets/{source.hub}" if source.path is None else f"file://{source.path}" for source in sources]
    # Prefect refuses other characters in a key, and keys that are longer.
    keys = [re.sub(r"[^\w.~:/@+=,*-]", "_", place)[:512] for place in places]
    return [Asset(key=key) for key in dict.fromkeys(keys)]


def _materializing(pipeline: Pipeline, stage: Stage) -> Any:
    """The stage's task, which tells Prefect what it makes and from what: lineage from raw data to report."""
    above = [_asset(pipeline, name) for name in pipeline.inputs(stage)] or _raw_assets(pipeline)
    made = materialize(
        _asset(pipeline, stage),
        by="bdpo",
        name=stage,
        asset_deps=list(above),
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return made(_WORK[stage])


def run_stages(
    config: str,
    overrides: list[str],
    only: Stage | None,
    force: list[Stage],
    with_inputs: bool,
    pause_before_train: bool,
    shown: Progress | None,
) -> list[StageResult]:
    """Run the stages as tasks of the current flow run.

    Args:
        config: path of a YAML config.
        overrides: `dotted.key=value`.
        only: one stage instead of all.
        force: stages to compute though they are cached.
        with_inputs: with `only`: run the stages first whose artifacts it lacks.
        pause_before_train: let a person look at pairs and scores first; only in a deployment's run.
        shown: a second place to show progress.

    Raises:
        UserError: a stage failed for something that the user can put right.
    """
    pipeline = Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())
    stages = list(pipeline.stages) if only is None else [only]
    if only is not None:
        missing = pipeline.missing_inputs(only)
        if missing and not with_inputs:
            raise UserError(
                f"Stage {only} needs the artifact of {missing[0]}, which is not there for these settings: run "
                f"`prefect deployment run bdpo/{missing[0]}` (or `bdpo run {config} --only {missing[0]}`) first, or "
                "add --param with_inputs=true (--with-inputs) to have the missing stages run too."
            )
        stages = [*missing, only]
    results: list[StageResult] = []
    for stage in stages:
        if stage == "train" and pause_before_train and (stage in force or stage in pipeline.missing_inputs("evaluate")):
            # The process ends and frees its place; resumed, the flow finds ingest and score cached and does not wait
            # for the same key a second time.
            suspend_flow_run(key="before-train")
        # The pipeline is no plain value: nothing of it is hashed, sent or stored.
        state: State[Any] = _materializing(pipeline, stage)(pipeline, stage in force, shown, return_state=True)
        result: Any = state.result(raise_on_failure=False)
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


@flow(name="bdpo", validate_parameters=True, persist_result=False)
def bdpo(
    config: str = "configs/demo.yaml",
    overrides: list[str] | None = None,
    only: Stage | None = None,
    force: list[Stage] | None = None,
    with_inputs: bool = False,
    pause_before_train: bool = False,
) -> State[Any]:
    """Preference data to an aligned model with evidence.

    Args:
        config: path of a YAML config.
        overrides: `dotted.key=value`, such as `train.beta=0.2`.
        only: run this stage alone.
        force: stages to compute though they are cached.
        with_inputs: with `only`: run the stages first whose artifacts it lacks.
        pause_before_train: suspend the run before training, until it is resumed in the UI or through the API.
    """
    try:
        results = run_stages(
            config, overrides or [], only, force or [], with_inputs, pause_before_train, SHOWN.get("terminal")
        )
    except UserError as error:
        return Failed(message=str(error), data=error)
    cached = [result.stage for result in results if result.cached]
    return Completed(message=f"{len(results)} stages, cached: {', '.join(cached) or 'none'}", data=results)


SHOWN: dict[str, Progress] = {}
"""Where `bdpo run` wants progress beside Prefect; parameters of a flow must be plain values."""


def _publish(result: StageResult) -> None:
    """The stage's figures as artifacts of the Prefect UI."""
    table = result.summary.get("table")
    if table:
        create_table_artifact(table=table, key="bdpo-evaluation", description="Base model against aligned model")
    counts = "\n".join(
        f"| {name} | {value} |" for name, value in result.summary.items() if isinstance(value, (int, float, str))
    )
    docs = result.artifact / "data_docs" / "index.html"
    checked = f"[what was checked]({docs.resolve().as_uri()})\n\n" if docs.is_file() else ""
    for page, name in ((docs, "data-docs"), (result.artifact / "report.html", "report")):
        if page.is_file():
            link = page.resolve().as_uri()
            create_link_artifact(link=link, link_text=name, key=f"bdpo-{result.stage}-{name}", description=str(page))
    create_markdown_artifact(
        key=f"bdpo-{result.stage}",
        description=f"{result.stage}: {'cached' if result.cached else 'computed'}",
        markdown=f"`{result.artifact}`\n\n{checked}| figure | value |\n| --- | --- |\n{counts}\n",
    )
