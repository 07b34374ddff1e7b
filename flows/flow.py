"""The flow `bdpo`: ingest, score, train, evaluate, a task a stage.

It decides nothing about data or models: it wires checks and progress into
`bdpo.pipeline` and shows in Prefect what the pipeline says.

This file must not be named like a package that it imports: a worker loads it under
its bare name, and a `bdpo.py` would hide the package `bdpo`.
"""

import os
import re
import signal
import sys
from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.assets import Asset, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.flow_runs import suspend_flow_run
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.fingerprints import Stage
from bdpo.interrupts import resend_lost_signals
from bdpo.pipeline import Pipeline, StageResult
from bdpo.progress import Progress
from data_checks import GreatExpectationsChecks
from flows.delivery import (
    UNREACHABLE,
    Delivery,
    client_of,
    is_away,
    reason,
    server_address,
    try_once_from_now_on,
    what_ended,
)
from flows.progress import PrefectProgress, both
from flows.results import publish
from flows.share import score_share
from flows.turn import turn


def _run(pipeline: Pipeline, stage: Stage, force: bool, shown: Progress | None, deliver: Delivery) -> State[Any]:
    """Run a stage and say how it went as a Prefect state."""
    progress = PrefectProgress(stage, deliver)
    # Prefect starts a run anew with the same id, and forces the same stages: after a pause, when a cluster took its
    # node away, or when somebody presses Retry.
    request = flow_run.id
    try:
        result = pipeline.run_stage(stage, force=force, request=request, progress=both(progress, shown))
    except UserError as error:
        return Failed(message=str(error), data=error)
    progress.finish()
    publish(result, deliver)
    if result.cached:
        origin = f", fetched from {result.fetched_from}" if result.fetched_from else ""
        return Completed(name="Cached", message=f"cached: {result.artifact}{origin}", data=result)
    return Completed(message=f"computed, because {'; '.join(result.reasons)}: {result.artifact}", data=result)


def ingest(pipeline: Pipeline, force: bool, shown: Progress | None, deliver: Delivery) -> State[Any]:
    """Raw rows to validated pairs."""
    return _run(pipeline, "ingest", force, shown, deliver)


def score(pipeline: Pipeline, force: bool, shown: Progress | None, deliver: Delivery) -> State[Any]:
    """Pairs to log-probs under the reference model."""
    return _run(pipeline, "score", force, shown, deliver)


def train(pipeline: Pipeline, force: bool, shown: Progress | None, deliver: Delivery) -> State[Any]:
    """Pairs and scores to an aligned model."""
    return _run(pipeline, "train", force, shown, deliver)


def evaluate(pipeline: Pipeline, force: bool, shown: Progress | None, deliver: Delivery) -> State[Any]:
    """Base model against aligned model."""
    return _run(pipeline, "evaluate", force, shown, deliver)


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


_PAUSE = "before-train"
"""Prefect's key of the one pause of a run."""


def run_stages(
    config: str,
    overrides: list[str],
    only: Stage | None,
    force: list[Stage],
    with_inputs: bool,
    pause_before_train: bool,
    share: str | None,
    shown: Progress | None,
) -> list[StageResult]:
    """Run the stages as tasks of the current flow run.

    Args:
        config: path of a YAML config.
        overrides: `dotted.key=value`.
        only: one stage instead of all.
        force: stages of this run to compute though they are cached.
        with_inputs: with `only`: run the stages first whose artifacts it lacks.
        pause_before_train: let a person look at pairs and scores first; only in a deployment's run.
        share: with `only` score: this part alone, such as `2/4`; no stage has a result then.
        shown: a second place to show progress.

    Raises:
        UserError: a stage failed for something that the user can put right, `force` names one that does not run, or,
            when all are done, the remote store has not taken what was computed.
    """
    pipeline = Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())
    if share is not None and only != "score":
        raise UserError(
            f"A share, such as {share}, is of the stage score alone: add --only score (--param only=score)."
        )
    if share is not None and "score" in force:
        raise UserError(
            f"force names score, of which this run has only the share {share}: a share scores what is not scored yet, "
            "and computes no artifact. Leave score out of force."
        )
    stages = list(pipeline.stages) if only is None else [only]
    if only is None:
        pipeline.require_files()
    else:
        missing = pipeline.missing_inputs(only)
        if missing and not with_inputs:
            raise UserError(
                f"Stage {only} needs the artifact of {missing[0]}, which is not there for these settings: run "
                f"`prefect deployment run bdpo/{missing[0]}` (or `bdpo run {config} --only {missing[0]}`) first, or "
                "add --param with_inputs=true (--with-inputs) to have the missing stages run too."
            )
        stages = [*missing, only]
    pipeline.require_packages(stages, force)

    if idle := [stage for stage in force if stage not in stages]:
        raise UserError(
            f"force names {idle[0]}, which is not among the stages of this run ({', '.join(stages)}): it would be left "
            "as it is. Run that stage, or all of them, or leave it out of force."
        )

    def away(message: str) -> None:
        get_run_logger().warning("%s", message)
        if shown is not None:
            shown.say(message)

    deliver = Delivery(away)
    results: list[StageResult] = []
    for stage in stages:
        if stage == "score" and share is not None:
            shared: Any = score_share(pipeline, share, shown, deliver, return_state=True)
            counts: Any = shared.result(raise_on_failure=False)
            if isinstance(counts, BaseException):
                raise counts
            break
        if stage == "train" and pause_before_train and (stage in force or stage in pipeline.missing_inputs("evaluate")):
            # The process ends and frees its place; resumed, the flow finds ingest and score cached and does not wait
            # for the same key a second time.
            suspend_flow_run(key=_PAUSE, timeout=None)  # a person may come back after a weekend
        # The pipeline is no plain value: nothing of it is hashed, sent or stored.
        state: State[Any] = _materializing(pipeline, stage)(pipeline, stage in force, shown, deliver, return_state=True)
        result: Any = state.result(raise_on_failure=False)
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    pipeline.require_pushed()
    return results


@flow(name="bdpo", validate_parameters=True, persist_result=False)
def bdpo(
    config: str = "configs/demo.yaml",
    overrides: list[str] | None = None,
    only: Stage | None = None,
    force: list[Stage] | None = None,
    with_inputs: bool = False,
    pause_before_train: bool = False,
    share: str | None = None,
) -> State[Any]:
    """Preference data to an aligned model with evidence.

    Args:
        config: path of a YAML config.
        overrides: `dotted.key=value`, such as `train.beta=0.2`.
        only: run this stage alone.
        force: stages to compute though they are cached.
        with_inputs: with `only`: run the stages first whose artifacts it lacks.
        pause_before_train: suspend the run before training, until it is resumed in the UI or through the API.
        share: with `only` score: score this part alone, such as `2/4`, for another run to gather.
    """
    resend_lost_signals({KeyboardInterrupt: signal.SIGINT, TerminationSignal: signal.SIGTERM})
    try:
        with turn(get_run_logger().info):
            results = run_stages(
                config, overrides or [], only, force or [], with_inputs, pause_before_train, share, _HERE.shown
            )
    except UserError as error:
        _HERE.outcome = error
        return Failed(message=str(error), data=error)
    except (KeyboardInterrupt, TerminationSignal):
        try_once_from_now_on()
        raise
    _HERE.outcome = results
    cached = [result.stage for result in results if result.cached]
    part = "" if share is None else f", share {share} of score"
    return Completed(message=f"{len(results)} stages, cached: {', '.join(cached) or 'none'}{part}", data=results)


@dataclass
class _Here:
    """What a run in this process shares with who asked for it; a flow's parameters must be plain values."""

    shown: Progress | None = None
    """A second place to show progress."""
    outcome: list[StageResult] | UserError | None = None
    """How it went, kept for when the server cannot be told."""


_HERE = _Here()


def run_here(
    config: str,
    overrides: list[str],
    only: Stage | None,
    force: list[Stage],
    with_inputs: bool,
    share: str | None,
    shown: Progress,
) -> list[StageResult]:
    """Run the flow in this process: what `bdpo run` does.

    Args:
        config: path of a YAML config.
        overrides: `dotted.key=value`.
        only: one stage instead of all.
        force: stages to compute though they are cached.
        with_inputs: with `only`: run the stages first whose artifacts it lacks.
        share: with `only` score: this part alone, such as `2/4`.
        shown: where to show progress beside Prefect.

    Raises:
        UserError: a stage failed for something that the user can put right, or the Prefect server went away and did
            not come back while Prefect's client asked for it again.
    """
    _HERE.shown, _HERE.outcome = shown, None
    try:
        named = PREFECT_API_URL.value()
        if named:
            _require_server(named)
        else:
            # It imports Prefect's whole server, which a run under another one does without.
            from flows.temporary import start_temporary_server

            start_temporary_server()
        state: Any = bdpo(
            config=config,
            overrides=overrides,
            only=only,
            force=force,
            with_inputs=with_inputs,
            share=share,
            return_state=True,
        )
        results: Any = state.result(raise_on_failure=False)
    except (*UNREACHABLE, TerminationSignal) as error:
        # Prefect raises the second when the signal that it sends again has not ended this process.
        results = error
    if not isinstance(results, BaseException):
        found: list[StageResult] = results
        return found
    ended = what_ended(results)
    if ended is not results or not is_away(results):
        if isinstance(ended, TerminationSignal):
            # As Prefect does with one that reaches it: the signal acts as it would have without it.
            os.kill(os.getpid(), ended.signal)
            sys.exit(128 + ended.signal)  # the first process of a container is spared what it does not handle
        raise ended
    if isinstance(_HERE.outcome, UserError):
        raise _HERE.outcome
    ending = "before the end" if _HERE.outcome is None else "when all stages were done"
    raise UserError(
        f"{_capital(server_address())} could not be reached {ending} ({reason(results)}); what was finished is kept: "
        f"{_REMEDY}."
    ) from results


_REMEDY = (
    "start it again, or unset PREFECT_API_URL (in a profile: `prefect config unset PREFECT_API_URL`) to use a "
    "temporary one, and run the same command again"
)


def _require_server(url: str) -> None:
    with client_of(url) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise UserError(f"{_capital(server_address())} does not answer ({reason(error)}): {_REMEDY}.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
