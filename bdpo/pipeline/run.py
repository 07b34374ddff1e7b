"""Running stages: each is found cached, fetched, or computed from its inputs."""

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bdpo.artifacts.disk import explain_disk_error
from bdpo.artifacts.locks import own_folder
from bdpo.artifacts.manifest import Manifest
from bdpo.artifacts.store import Identity
from bdpo.config import Config
from bdpo.errors import UserError
from bdpo.fingerprints import STAGES, Stage
from bdpo.models.allocator import explain_memory_error, release_memory
from bdpo.models.source import ModelSource
from bdpo.pipeline import transfer
from bdpo.pipeline.lookup import ArtifactLookup
from bdpo.pipeline.packages import require_packages
from bdpo.pipeline.plan import StagePlan, make_plan
from bdpo.pipeline.record import RunRecord
from bdpo.progress import Progress, Silent
from bdpo.schemas import Checks
from bdpo.stages import StageContext, compute, compute_share

_KEPT = "free memory, then run again: what was finished is kept"
_SPARING: Mapping[Stage, str] = {
    "ingest": _KEPT,
    "score": f"lower score.token_budget, or {_KEPT}",
    "train": "free memory, then run again, and it goes on from its last checkpoint; with a lower train.token_budget it "
    "needs less, and begins anew",
    "evaluate": f"lower evaluate.batch_size, or {_KEPT}",
}
"""What to do where a stage finds too little memory."""


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


class Pipeline:
    """The stages of one config.  Outside files are looked at once, when first needed, and have to stay as they are."""

    def __init__(self, config: Config, *, checks: Checks) -> None:
        """Take the settings and the validation that stages ask for."""
        self.config = config
        self._checks = checks
        self._lookup = ArtifactLookup(config)
        self._record = RunRecord(self._lookup)
        self._unpushed: dict[Stage, str] = {}
        """Stages that this run computed and could not push, and why."""

    @property
    def source(self) -> ModelSource:
        """The reference model's own files."""
        return self._lookup.source

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What a run computes, in order: without a reference model no scores."""
        return self._lookup.stages

    @property
    def fingerprints(self) -> Mapping[Stage, str]:
        """Each stage's artifact, by name; errors as `require_files`."""
        return self._lookup.fingerprints

    def require_files(self) -> None:
        """Look at every outside file of every stage, so that none is missed after hours of work.

        Raises:
            UserError: a file, folder or dataset that the settings name is missing.
        """
        for stage in STAGES:
            self._lookup.fingerprints[stage]

    def require_packages(self, stages: Collection[Stage], force: Collection[Stage] = ()) -> None:
        """Look for the optional packages of the stages that would be computed, before any of them is.

        Args:
            stages: what is to run; one whose artifact is there needs no package.
            force: those that are computed although their artifact is there.

        Raises:
            UserError: a package that the settings ask for is not installed.
        """
        for stage in stages:
            try:
                require_packages(self.config, stage)
            except UserError:
                # Only now, for the artifact may have to be looked for in the remote store.
                if stage in force or (self._lookup.is_missing(stage) and self._lookup.elsewhere(stage) is None):
                    raise

    def inputs(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages whose artifacts a stage reads."""
        return self._lookup.inputs[stage]

    def missing_inputs(self, stage: Stage) -> list[Stage]:
        """The stages before `stage` whose artifacts are whole neither here nor remotely, in the order to run them."""
        needed = self._lookup.inputs[stage]
        return [above for above in needed if self._lookup.is_missing(above) and self._lookup.elsewhere(above) is None]

    def plan(self) -> list[StagePlan]:
        """What a run would do with each stage, and why; the remote store is asked once for each."""
        return make_plan(self._lookup)

    def run(
        self, only: Stage | None = None, force: Collection[Stage] = (), progress: Progress | None = None
    ) -> list[StageResult]:
        """Run all stages that are needed, or one whose inputs are there.

        Args:
            only: run this stage alone.
            force: stages to compute though they are cached.
            progress: where to show what happens; nowhere by default.

        Raises:
            UserError: as for `run_stage` and, when all stages are done, `require_pushed`.
        """
        stages = self.stages if only is None else (only,)
        if only is None:
            self.require_files()
        self.require_packages(stages, force)
        results = [self.run_stage(stage, force=stage in force, progress=progress) for stage in stages]
        self.require_pushed()
        return results

    def require_pushed(self) -> None:
        """See at the end of a run that the remote store took what was computed: a night's work goes on without it.

        Raises:
            UserError: it did not.
        """
        for stage, why in self._unpushed.items():
            raise UserError(
                f"Stage {stage} is finished, and its artifact here, but not in the remote store: {why} The same "
                "command pushes it when it is run again."
            )

    def run_stage(
        self, stage: Stage, *, force: bool = False, request: str | None = None, progress: Progress | None = None
    ) -> StageResult:
        """Run one stage, or find that its artifact is whole.

        Args:
            stage: the stage; the artifacts that it is given must be whole.
            force: compute it though it is cached.
            request: who forces it.  The same one again, as of a run that a cluster ended and starts anew, goes on with
                what it began, and finds cached what it finished; without one, all begins anew each time.
            progress: where to show what happens; nowhere by default.

        Raises:
            UserError: an input is missing, or the user's data, settings or disk are at fault.
        """
        with self._explained(stage):
            result = self._run_locked(stage, force, request, progress or Silent())
        self._record.stage_done(stage, cached=result.cached)
        return result

    def score_share(self, share: str, *, progress: Progress | None = None) -> dict[str, int]:
        """Score one machine's part of the pairs' sequences; the stage `score` then has only to gather them.

        Machines share their work through `remote_artifacts` or a shared `artifacts` folder.

        Args:
            share: `2/4` is the second of four.
            progress: where to show what happens; nowhere by default.

        Returns:
            How many sequences the share has, and how many of them were scored now.

        Raises:
            UserError: as for `run_stage`.
        """
        with self._explained("score"):
            return self._score_share(share, progress or Silent())

    @contextmanager
    def _explained(self, stage: Stage) -> Iterator[None]:
        """Errors of a full disk or memory in a sentence, and a failure in the record; memory is given back."""
        try:
            yield
        except Exception as error:
            explained = explain_disk_error(error, self.config.artifacts)
            if explained is not None:
                raise explained from error
            explained = explain_memory_error(error, stage, _SPARING[stage])
            shown = explained or error
            if self._lookup.named():
                self._record.stage_failed(str(shown) if isinstance(shown, UserError) else type(shown).__name__)
            if explained is not None:
                raise explained from error
            raise
        finally:
            release_memory()

    def _run_locked(self, stage: Stage, force: bool, request: str | None, progress: Progress) -> StageResult:
        store, fingerprint = self._lookup.store, self.fingerprints[stage]
        with store.lock(stage, fingerprint, lambda: transfer.say_waiting(stage, progress)):
            started = time.monotonic()
            store.recover(stage, fingerprint)
            inspection = self._lookup.inspect(stage)
            reasons = self._lookup.reasons(stage, inspection)
            if force and not self._was_forced(stage, inspection.manifest, request):
                return self._compute(stage, reasons or ["forced"], progress, started, force=True, request=request)
            if inspection.manifest is not None and not reasons:
                transfer.push(self._lookup, stage, inspection.manifest, progress)
                summary, took = inspection.manifest.summary, time.monotonic() - started
                return StageResult(stage, inspection.folder, True, [], summary, took)
            fetched, damage = transfer.fetch(self._lookup, stage, progress)
            if fetched is not None:
                place, took = self._lookup.remote_folder(stage), time.monotonic() - started
                return StageResult(stage, inspection.folder, True, [], fetched.summary, took, fetched_from=place)
            if damage is not None:
                return self._compute(stage, [*reasons, damage], progress, started, mend=True)
            return self._compute(stage, reasons, progress, started)

    def _compute(
        self,
        stage: Stage,
        reasons: list[str],
        progress: Progress,
        started: float,
        *,
        force: bool = False,
        request: str | None = None,
        mend: bool = False,
    ) -> StageResult:
        """Compute a stage under its lock.

        Args:
            stage: the stage.
            reasons: why, one phrase each.
            progress: where to show what happens.
            started: `time.monotonic()` at the beginning.
            force: keep nothing of an earlier attempt, but of one by the same request.
            request: who forces it.
            mend: replace what the remote store has, which is damaged.
        """
        lookup = self._lookup
        self._bring_inputs(stage, progress)
        lookup.require_unchanged(stage)
        progress.say(f"{stage}: computing, because {'; '.join(reasons)}")
        identity = Identity(
            stage=stage,
            fingerprint=lookup.fingerprints[stage],
            run=self.config.name,
            reads=lookup.reads[stage],
            inputs={above: lookup.whole(above).content for above in lookup.inputs[stage]},
            forced_by=request,
        )
        afresh = force and not lookup.store.was_begun(identity)
        context = self._context(stage, lookup.store.begin(identity, afresh=afresh), progress, afresh=afresh)
        summary = compute(stage, context)
        try:
            lookup.require_unchanged(stage)
        except UserError as error:
            if stage == "train":
                # It began from the weights that were looked at just before; the tokenizer, and the weights that
                # adapters are merged into, are read when it ends, and will be again.
                raise UserError(
                    f"{error} Or put them back as they were, and it goes on from its last checkpoint."
                ) from error
            # Nothing may go on from it under this name.
            shutil.rmtree(context.workdir)
            raise
        manifest = lookup.store.commit(identity, summary, started)
        unpushed = transfer.push(lookup, stage, manifest, progress, computed=True, mend=mend)
        if unpushed is not None:
            self._unpushed[stage] = unpushed
        return StageResult(stage, lookup.folder(stage), False, reasons, manifest.summary, manifest.seconds)

    def _was_forced(self, stage: Stage, here: Manifest | None, request: str | None) -> bool:
        """Whether a request that forces a stage has finished it before, by the artifact here or else the remote one."""
        if request is None:
            return False
        manifest = here or self._lookup.elsewhere(stage)
        return manifest is not None and manifest.forced_by == request

    def _score_share(self, share: str, progress: Progress) -> dict[str, int]:
        self._bring_inputs("score", progress)
        self._lookup.require_unchanged("score")
        with own_folder(self._lookup.store.cache("shares")) as workdir:
            return compute_share(share, self._context("score", workdir, progress))

    def _bring_inputs(self, stage: Stage, progress: Progress) -> None:
        missing = transfer.bring_inputs(self._lookup, stage, progress)
        if missing:
            raise UserError(
                f"Stage {stage} needs the artifact of {missing[0]}, which is not there for these settings: "
                f"run {missing[0]} first, or ask for the missing stages to be run too."
            )
        if self._lookup.remote is not None and not self._unpushed:
            self._lookup.remote.require_writable()

    def _context(self, stage: Stage, workdir: Path, progress: Progress, *, afresh: bool = False) -> StageContext:
        lookup = self._lookup
        return StageContext(
            config=self.config,
            source=lookup.source,
            inputs={above: lookup.folder(above) for above in lookup.inputs[stage]},
            cache=lookup.store.cache,
            remote_cache=partial(transfer.pieces, lookup),
            workdir=workdir,
            afresh=afresh,
            checks=self._checks,
            progress=progress,
        )
