"""The four stages as a graph: plan a run, run a stage, say why.

    ingest -> score -> train -> evaluate

A notebook uses it like this:

    pipeline = Pipeline(load_config("configs/demo.yaml"), checks=GreatExpectationsChecks())
    for planned in pipeline.plan():
        print(planned.stage, planned.state, planned.reasons)
    results = pipeline.run()
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bdpo import fingerprints as graph
from bdpo.artifacts.catalogue import new_run_id, note_run, rebuild_catalogue
from bdpo.artifacts.disk import explain_disk_error
from bdpo.artifacts.manifest import Manifest
from bdpo.artifacts.remote import DamagedCopy, RemoteStore
from bdpo.artifacts.store import ArtifactStore, Identity, Inspection, State, describe_progress
from bdpo.balance import method_forms, weights_sql
from bdpo.config import Config
from bdpo.errors import UserError
from bdpo.fingerprints import STAGES, Stage
from bdpo.models.allocator import release_memory
from bdpo.models.source import ModelSource, resolve_model
from bdpo.progress import Progress, Silent
from bdpo.schemas import Checks
from bdpo.stages import StageContext, compute


@dataclass(frozen=True)
class StagePlan:
    """What a run would do with one stage."""

    stage: Stage
    state: Literal["cached", "remote", "partial", "stale", "not needed"]
    """`remote`: to be fetched from the remote store; `partial`: begun and not finished; `stale`: to be computed;
    `not needed`: no other stage reads it."""
    reasons: list[str]
    """Why it is not cached, one phrase each; empty when it is."""
    fingerprint: str
    folder: Path


@dataclass(frozen=True)
class StageResult:
    """What a run did with one stage."""

    stage: Stage
    artifact: Path
    cached: bool
    reasons: list[str]
    """Why it was computed; empty when cached."""
    summary: dict[str, Any]
    seconds: float
    fetched_from: str | None = None
    """Where in the remote store it was cached, if it was not here."""


@dataclass
class _Run:
    id: str
    started: str
    fingerprints: dict[str, str] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)


class Pipeline:
    """The stages of one config.  Outside files are looked at once, when first needed."""

    def __init__(self, config: Config, *, checks: Checks) -> None:
        """Take the settings and the validation that stages ask for."""
        self.config = config
        self._checks = checks
        self._store = ArtifactStore(config.artifacts)
        self._remote = RemoteStore(config.remote_artifacts) if config.remote_artifacts is not None else None
        self._seen: dict[Stage, Manifest | None] | None = None
        """While a plan is made: the remote manifests that were read for it.  A run looks anew each time."""
        self._run = _Run(new_run_id(config.name), datetime.now(UTC).isoformat())

    @cached_property
    def source(self) -> ModelSource:
        """The reference model's own files."""
        model = self.config.model
        return resolve_model(model.path, model.revision, model.quantization)

    @cached_property
    def _inputs(self) -> Mapping[Stage, tuple[Stage, ...]]:
        return graph.inputs_for(self.config.train.method)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What a run computes, in order: without a reference model no scores."""
        read = {above for inputs in self._inputs.values() for above in inputs}
        return tuple(stage for stage in STAGES if stage in read or stage == STAGES[-1])

    def inputs(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages whose artifacts a stage reads."""
        return self._inputs[stage]

    @cached_property
    def _reads(self) -> dict[Stage, dict[str, Any]]:
        return {stage: graph.stage_reads(stage, self.config, self.source) for stage in STAGES}

    @cached_property
    def fingerprints(self) -> dict[Stage, str]:
        """Each stage's artifact, by name."""
        return graph.fingerprints(self._reads.__getitem__, self._inputs)

    def plan(self) -> list[StagePlan]:
        """What a run would do with each stage, and why; the remote store is asked once for each."""
        self._seen = {}
        try:
            return self._plan()
        finally:
            self._seen = None

    def _plan(self) -> list[StagePlan]:
        plans: dict[Stage, StagePlan] = {}
        for stage in STAGES:
            inspection = self._inspect(stage)
            waiting = [above for above in self._inputs[stage] if plans[above].state not in ("cached", "remote")]
            reasons = self._reasons(stage, inspection)
            state: Literal["cached", "remote", "partial", "stale", "not needed"]
            if stage not in self.stages:
                state = "not needed"
                reasons = [f"the method {self.config.train.method} has no reference model: nothing reads {stage}"]
            elif inspection.state is State.WHOLE and not reasons:
                state = "cached"
            elif self._elsewhere(stage) is not None and self._remote is not None:
                state = "remote"
                reasons = [f"to be fetched from {self._remote.folder(stage, self.fingerprints[stage])}"]
            else:
                workspace = self._store.workspace(stage, self.fingerprints[stage])
                state = "partial" if workspace.is_dir() else "stale"
                if state == "partial":
                    reasons = [describe_progress(workspace), *reasons]
                elif waiting:
                    reasons = [*reasons, f"needs {', '.join(waiting)} first"]
            plans[stage] = StagePlan(stage, state, reasons, self.fingerprints[stage], inspection.folder)
        return list(plans.values())

    def run(
        self, only: Stage | None = None, force: Collection[Stage] = (), progress: Progress | None = None
    ) -> list[StageResult]:
        """Run all stages that are needed, or one whose inputs are there.

        Args:
            only: run this stage alone.
            force: stages to compute though they are cached.
            progress: where to show what happens; nowhere by default.
        """
        stages = self.stages if only is None else (only,)
        return [self.run_stage(stage, force=stage in force, progress=progress) for stage in stages]

    def run_stage(self, stage: Stage, *, force: bool = False, progress: Progress | None = None) -> StageResult:
        """Run one stage, or find that its artifact is whole.

        Args:
            stage: the stage; the artifacts that it is given must be whole.
            force: compute it though it is cached.
            progress: where to show what happens; nowhere by default.

        Raises:
            UserError: an input is missing, or the user's data, settings or disk are at fault.
        """
        try:
            result = self._run_stage(stage, force, progress or Silent())
        except Exception as error:
            explained = None if isinstance(error, UserError) else explain_disk_error(error, self.config.artifacts)
            if explained is not None:
                raise explained from error
            if "fingerprints" in self.__dict__:
                self._note("failed", str(error) if isinstance(error, UserError) else type(error).__name__)
            raise
        finally:
            release_memory()
        self._run.fingerprints[stage] = self.fingerprints[stage]
        if result.cached:
            self._run.cached.append(stage)
        self._note("finished", None)
        return result

    def missing_inputs(self, stage: Stage) -> list[Stage]:
        """The stages before `stage` whose artifacts are whole neither here nor remotely, in the order to run them."""
        return [above for above in self._inputs[stage] if self._is_missing(above) and self._elsewhere(above) is None]

    def _is_missing(self, stage: Stage) -> bool:
        inspection = self._inspect(stage)
        return inspection.state is not State.WHOLE or bool(self._reasons(stage, inspection))

    def _run_stage(self, stage: Stage, force: bool, progress: Progress) -> StageResult:
        fingerprint = self.fingerprints[stage]
        started = time.monotonic()

        def waiting() -> None:
            progress.say(f"{stage}: another process is working on this artifact; waiting for it to end")

        with self._store.lock(stage, fingerprint, waiting):
            self._store.recover(stage, fingerprint)
            inspection = self._inspect(stage)
            reasons = self._reasons(stage, inspection)
            if inspection.manifest is not None and not reasons and not force:
                self._push(stage, inspection.manifest, progress)
                summary = inspection.manifest.summary
                return StageResult(stage, inspection.folder, True, [], summary, time.monotonic() - started)
            damage: str | None = None
            if not force:
                fetched, damage = self._fetch(stage, progress)
                if fetched is not None and self._remote is not None:
                    place, took = self._remote.folder(stage, fingerprint), time.monotonic() - started
                    return StageResult(stage, inspection.folder, True, [], fetched.summary, took, fetched_from=place)
            missing = self._bring_inputs(stage, progress)
            if missing:
                raise UserError(
                    f"Stage {stage} needs the artifact of {missing[0]}, which is not there for these settings: "
                    f"run {missing[0]} first, or ask for the missing stages to be run too."
                )
            if self._remote is not None:
                self._remote.require_writable()
            reasons = [*reasons, *([damage] if damage is not None else [])] or ["forced"]
            progress.say(f"{stage}: computing, because {'; '.join(reasons)}")
            identity = Identity(
                stage=stage,
                fingerprint=fingerprint,
                run=self.config.name,
                reads=self._reads[stage],
                inputs={above: self._whole(above).content for above in self._inputs[stage]},
            )
            workdir = self._store.begin(identity, afresh=force)
            context = StageContext(
                config=self.config,
                source=self.source,
                inputs={above: self._store.folder(above, self.fingerprints[above]) for above in self._inputs[stage]},
                cache=self._store.cache,
                workdir=workdir,
                checks=self._checks,
                progress=progress,
            )
            summary = compute(stage, context)
            manifest = self._store.commit(identity, summary, started)
            self._push(stage, manifest, progress, mend=damage is not None)
            return StageResult(stage, inspection.folder, False, reasons, manifest.summary, manifest.seconds)

    def _elsewhere(self, stage: Stage) -> Manifest | None:
        """The manifest of the remote store's artifact, if it has one that fits the inputs."""
        return self._fitting(stage, self._remote_manifest(stage))

    def _fitting(self, stage: Stage, manifest: Manifest | None) -> Manifest | None:
        return None if manifest is None or self._rebuilt_inputs(stage, manifest) else manifest

    def _fetch(self, stage: Stage, progress: Progress) -> tuple[Manifest | None, str | None]:
        """Bring an artifact here from the remote store, under its lock; its manifest, or the damage that was found."""
        if self._remote is None:
            return None, None
        fingerprint = self.fingerprints[stage]
        place = self._remote.folder(stage, fingerprint)
        copy = self._remote.look(stage, fingerprint)
        manifest, damage = self._fitting(stage, copy.manifest), copy.damage
        if manifest is not None:
            progress.say(f"{stage}: fetching the artifact from {place}")
            try:
                self._remote.fetch(manifest, self._store.incoming(stage, fingerprint), progress)
                self._store.accept(stage, fingerprint)
                return manifest, None
            except DamagedCopy as found:
                damage = str(found)
        return None, None if damage is None else f"the artifact in {place} is damaged: {damage}"

    def _bring_inputs(self, stage: Stage, progress: Progress) -> list[Stage]:
        """Fetch the inputs that are not here; those that are not there either."""
        missing: list[Stage] = []
        for above in self._inputs[stage]:
            if self._is_missing(above):
                with self._store.lock(above, self.fingerprints[above], lambda: None):
                    if self._is_missing(above) and self._fetch(above, progress)[0] is None:
                        missing.append(above)
        return missing

    def _push(self, stage: Stage, manifest: Manifest, progress: Progress, *, mend: bool = False) -> None:
        """Put a finished artifact into the remote store, unless an equal one is there that needs no mending."""
        if self._remote is None:
            return
        there = self._remote_manifest(stage)
        if there is None or there.content != manifest.content or there.inputs != manifest.inputs or mend:
            folder = self._store.folder(stage, self.fingerprints[stage])
            progress.say(f"{stage}: pushing the artifact to {self._remote.folder(stage, self.fingerprints[stage])}")
            self._remote.push(folder, manifest, progress)

    def _inspect(self, stage: Stage) -> Inspection:
        return self._store.inspect(stage, self.fingerprints[stage])

    def _whole(self, stage: Stage) -> Manifest:
        manifest = self._inspect(stage).manifest
        assert manifest is not None, f"{stage} was whole a moment ago"
        return manifest

    def _reasons(self, stage: Stage, inspection: Inspection) -> list[str]:
        """Why a stage has to be computed; empty when its artifact can be used."""
        if inspection.state is State.DAMAGED:
            return [inspection.reason]
        if inspection.state is State.WHOLE and inspection.manifest is not None:
            return self._rebuilt_inputs(stage, inspection.manifest)
        earlier = self._nearest(stage)
        if earlier is None:
            return ["never computed"]
        differences = graph.compare_reads(earlier.reads, self._reads[stage])
        changed = [above for above in self._inputs[stage] if self._differs(above)]
        reasons = [*differences, *(f"its input from {above} changed" for above in changed)] or ["its artifact is gone"]
        if earlier.run != self.config.name:
            return [f"never computed for {self.config.name}; compared with the run {earlier.run}:", *reasons]
        return reasons

    def _rebuilt_inputs(self, stage: Stage, manifest: Manifest) -> list[str]:
        """Inputs that were computed again since, with another content."""
        rebuilt = []
        for above in self._inputs[stage]:
            now = self._inspect(above).manifest or self._remote_manifest(above)
            if now is not None and manifest.inputs.get(above) != now.content:
                rebuilt.append(f"its input from {above} was computed again and differs")
        return rebuilt

    def _remote_manifest(self, stage: Stage) -> Manifest | None:
        if self._remote is None:
            return None
        if self._seen is None:
            return self._remote.look(stage, self.fingerprints[stage]).manifest
        if stage not in self._seen:
            self._seen[stage] = self._remote.look(stage, self.fingerprints[stage]).manifest
        return self._seen[stage]

    def _nearest(self, stage: Stage) -> Manifest | None:
        """The artifact to explain against: the last of the same run name, else the last of all."""
        manifests = self._store.manifests(stage)
        return next((m for m in manifests if m.run == self.config.name), manifests[0] if manifests else None)

    def _differs(self, stage: Stage) -> bool:
        earlier = self._nearest(stage)
        return earlier is None or earlier.fingerprint != self.fingerprints[stage]

    def _note(self, status: str, error: str | None) -> None:
        """Record the run and bring the catalogue up to date."""
        record: Mapping[str, Any] = {
            "name": self.config.name,
            "started": self._run.started,
            "finished": datetime.now(UTC).isoformat(),
            "status": status,
            **{stage: self._run.fingerprints.get(stage) for stage in STAGES},
            "cached": self._run.cached,
            "error": error,
            "config": self.config.model_dump(mode="json"),
        }
        try:
            note_run(self.config.artifacts, self._run.id, record)
            train = self.config.train
            forms = method_forms(train.method, train.balance, train.scale)
            weights = weights_sql(forms=forms, mi_floor=train.mi_floor, tau=train.tau)
            rebuild_catalogue(self.config.artifacts, self.fingerprints, {"scored_pairs": _SCORED_COLUMNS + weights})
        except OSError as failure:
            raise explain_disk_error(failure, self.config.artifacts) or failure from failure


_SCORED_COLUMNS = (
    "pair_id, prompt, chosen, rejected, split, source, category, chosen_tokens, rejected_tokens, "
    "ref_chosen_logps, ref_rejected_logps, null_chosen_logps, null_rejected_logps, mi_chosen, mi_rejected, imbalance, "
)
