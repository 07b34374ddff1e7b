"""What a run would do with each stage, and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bdpo.artifacts.store import State, describe_progress
from bdpo.fingerprints import STAGES, Stage
from bdpo.pipeline.lookup import ArtifactLookup

PlannedState = Literal["cached", "remote", "partial", "stale", "not needed"]


@dataclass(frozen=True)
class StagePlan:
    """What a run would do with one stage."""

    stage: Stage
    state: PlannedState
    """`remote`: to be fetched from the remote store; `partial`: begun and not finished; `stale`: to be computed;
    `not needed`: no other stage reads it."""
    reasons: list[str]
    """Why it is not cached, one phrase each; empty when it is."""
    fingerprint: str
    folder: Path


def make_plan(lookup: ArtifactLookup) -> list[StagePlan]:
    """Plan every stage, in order; the remote store is asked once for each."""
    plans: dict[Stage, StagePlan] = {}
    with lookup.asking_once():
        for stage in STAGES:
            waiting = [above for above in lookup.inputs[stage] if plans[above].state not in ("cached", "remote")]
            state, reasons = _decide(lookup, stage, waiting)
            plans[stage] = StagePlan(stage, state, reasons, lookup.fingerprints[stage], lookup.folder(stage))
    return list(plans.values())


def _decide(lookup: ArtifactLookup, stage: Stage, waiting: list[Stage]) -> tuple[PlannedState, list[str]]:
    """State and reasons of a stage; `waiting`: its inputs that are to be computed first."""
    if stage not in lookup.stages:
        return "not needed", [f"the method {lookup.config.train.method} has no reference model: nothing reads {stage}"]
    inspection = lookup.inspect(stage)
    reasons = lookup.reasons(stage, inspection)
    if inspection.state is State.WHOLE and not reasons:
        return "cached", []
    if lookup.elsewhere(stage) is not None:
        return "remote", [f"to be fetched from {lookup.remote_folder(stage)}"]
    workspace = lookup.store.workspace(stage, lookup.fingerprints[stage])
    if workspace.is_dir():
        return "partial", [describe_progress(workspace), *reasons]
    return "stale", [*reasons, f"needs {', '.join(waiting)} first"] if waiting else reasons
