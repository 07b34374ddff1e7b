"""What there is of each stage's artifact, here and in the remote store, and why it cannot be used."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from bdpo import fingerprints as graph
from bdpo.artifacts.manifest import Manifest
from bdpo.artifacts.remote import RemoteStore
from bdpo.artifacts.store import ArtifactStore, Inspection, State
from bdpo.config import Config
from bdpo.errors import UserError
from bdpo.fingerprints import STAGES, Stage
from bdpo.models.source import ModelSource, look_again, require_own_code, require_trainable, resolve_model

_Value = TypeVar("_Value")


class _WhenAsked(dict[Stage, _Value]):
    """Stage to what is worked out for it when it is first asked for."""

    def __init__(self, work_out: Callable[[Stage], _Value]) -> None:
        super().__init__()
        self._work_out = work_out

    def __missing__(self, stage: Stage) -> _Value:
        value = self[stage] = self._work_out(stage)
        return value


class ArtifactLookup:
    """The artifacts that a config stands for.  Outside files are looked at once, when first needed."""

    def __init__(self, config: Config) -> None:
        """Take the settings; nothing is looked at yet."""
        self.config = config
        self.store = ArtifactStore(config.artifacts)
        self.remote = RemoteStore(config.remote_artifacts) if config.remote_artifacts is not None else None
        self.store_is_away = False
        """Whether the remote store did not answer, or took nothing, when a cached artifact was held against it."""
        self._remembered: dict[Stage, Manifest | None] | None = None

    @cached_property
    def source(self) -> ModelSource:
        """The reference model's own files."""
        model = self.config.model
        source = resolve_model(model.path, model.revision, model.quantization)
        require_trainable(source)
        if model.trust_remote_code:
            require_own_code(source)
        return source

    @cached_property
    def inputs(self) -> Mapping[Stage, tuple[Stage, ...]]:
        """Stage to those whose artifacts it reads."""
        return graph.inputs_for(self.config.train.method)

    @cached_property
    def reads(self) -> Mapping[Stage, dict[str, Any]]:
        """Stage to every setting and outside file that it reads; a stage's files are read when it is asked for."""
        return _WhenAsked(lambda stage: graph.stage_reads(stage, self.config, self.source))

    @cached_property
    def fingerprints(self) -> Mapping[Stage, str]:
        """Stage to the name of its artifact; asks for the files of that stage and of those before it alone."""
        return _WhenAsked(
            lambda stage: graph.fingerprint(
                stage, self.reads[stage], [self.fingerprints[above] for above in self.inputs[stage]]
            )
        )

    def require_unchanged(self, stage: Stage) -> None:
        """See that a stage's outside files still hold what its fingerprint names.

        They are looked at when a run begins, and read hours later.

        Raises:
            UserError: one of them was changed, or is gone.
        """
        now = graph.stage_reads(stage, self.config, look_again(self.source))
        changed = graph.compare_reads(self.reads[stage], now)
        if changed:
            raise UserError(
                f"Stage {stage} is given up: {'; '.join(changed)} after this run had looked at it, and the artifact "
                "would not be of what its name says. Leave the files as they are and run the same command again."
            )

    def named(self) -> dict[Stage, str]:
        """The fingerprints of those stages that were asked for or have artifacts here, and whose files are all there.

        Of another stage nothing is looked at: its benchmarks and judge would be downloaded for a name that nothing has.
        """
        found: dict[Stage, str] = {}
        for stage in STAGES:
            if stage in self.fingerprints or self.store.has_any(stage):
                with suppress(UserError):
                    found[stage] = self.fingerprints[stage]
        return found

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that a run needs, in order: without a reference model no scores."""
        read = {above for inputs in self.inputs.values() for above in inputs}
        return tuple(stage for stage in STAGES if stage in read or stage == STAGES[-1])

    def folder(self, stage: Stage) -> Path:
        """Where the artifact lies when it is whole."""
        return self.store.folder(stage, self.fingerprints[stage])

    def remote_folder(self, stage: Stage) -> str:
        """Its address in the remote store, of which there must be one."""
        assert self.remote is not None, "there is a remote store"
        return self.remote.folder(stage, self.fingerprints[stage])

    def inspect(self, stage: Stage) -> Inspection:
        """What this machine has of it."""
        return self.store.inspect(stage, self.fingerprints[stage])

    def whole(self, stage: Stage) -> Manifest:
        """The manifest of an artifact that was found here."""
        manifest = self.inspect(stage).manifest
        assert manifest is not None, f"{stage} was whole a moment ago"
        return manifest

    def is_missing(self, stage: Stage) -> bool:
        """Whether this machine has none that can be used."""
        inspection = self.inspect(stage)
        return inspection.state is not State.WHOLE or bool(self.reasons(stage, inspection))

    def elsewhere(self, stage: Stage) -> Manifest | None:
        """The manifest of the remote store's artifact, if it has one that fits the inputs."""
        return self.if_it_fits(stage, self.remote_manifest(stage))

    def if_it_fits(self, stage: Stage, manifest: Manifest | None) -> Manifest | None:
        """The manifest, unless its inputs were computed again since with another content."""
        return None if manifest is None or self._changed_inputs(stage, manifest) else manifest

    def reasons(self, stage: Stage, inspection: Inspection) -> list[str]:
        """Why a stage has to be computed, one phrase each; none where its artifact here can be used."""
        if inspection.state is State.DAMAGED:
            return [inspection.reason]
        if inspection.state is State.WHOLE and inspection.manifest is not None:
            return self._changed_inputs(stage, inspection.manifest)
        earlier = self._nearest(stage)
        if earlier is None:
            return ["never computed"]
        differences = graph.compare_reads(earlier.reads, self.reads[stage])
        changed = self._other_inputs(stage, earlier)
        reasons = [*differences, *(f"its input from {above} changed" for above in changed)] or ["its artifact is gone"]
        if earlier.run != self.config.name:
            return [f"never computed for {self.config.name}; compared with the run {earlier.run}:", *reasons]
        return reasons

    def remote_manifest(self, stage: Stage) -> Manifest | None:
        """The manifest of what the remote store has; None where it has nothing whole, or there is no such store."""
        if self.remote is None:
            return None
        if self._remembered is None:
            return self.remote.look(stage, self.fingerprints[stage]).manifest
        if stage not in self._remembered:
            self._remembered[stage] = self.remote.look(stage, self.fingerprints[stage]).manifest
        return self._remembered[stage]

    @contextmanager
    def asking_once(self) -> Iterator[None]:
        """Ask the remote store for each manifest at most once while the block runs; otherwise it is asked each time."""
        self._remembered = {}
        try:
            yield
        finally:
            self._remembered = None

    def _changed_inputs(self, stage: Stage, manifest: Manifest) -> list[str]:
        """Inputs that were computed again after the artifact of this manifest, with another content."""
        changed = []
        for above in self.inputs[stage]:
            now = self.inspect(above).manifest or self.remote_manifest(above)
            if now is not None and manifest.inputs.get(above) != now.content:
                changed.append(f"its input from {above} was computed again and differs")
        return changed

    def _nearest(self, stage: Stage) -> Manifest | None:
        """The artifact to explain against: the last of the same run name, else the last of all."""
        manifests = self.store.manifests(stage)
        return next((m for m in manifests if m.run == self.config.name), manifests[0] if manifests else None)

    def _other_inputs(self, stage: Stage, earlier: Manifest) -> list[Stage]:
        """Inputs that are other artifacts than those that an earlier one of a stage was made from."""
        inputs = self.inputs[stage]
        if (
            graph.fingerprint(stage, earlier.reads, [self.fingerprints[above] for above in inputs])
            == earlier.fingerprint
        ):
            return []
        # Its manifest tells the contents of what it was made from; the store, which artifacts have such a content.
        names = {
            above: {m.fingerprint for m in self.store.manifests(above) if m.content == earlier.inputs[above]}
            for above in inputs
            if above in earlier.inputs
        }
        others = [above for above, found in names.items() if self.fingerprints[above] not in found]
        return others or [above for above, found in names.items() if len(found) > 1]
