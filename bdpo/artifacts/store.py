"""The content-addressed store: an artifact exists whole or not at all.

<root>/<stage>/<fingerprint>/           whole: manifest.json was written last
<root>/<stage>/<fingerprint>.partial/   work so far; a killed stage carries on here
<root>/<stage>/<fingerprint>.fetched/   what came so far from a remote store
<root>/<stage>/<fingerprint>.lock       held by the process that works on it
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from bdpo.artifacts.locks import hold
from bdpo.artifacts.manifest import (
    MANIFEST,
    Manifest,
    content_digest,
    describe_machine,
    find_damage,
    list_files,
    manifest_text,
    package_versions,
    read_manifest,
)

SCRATCH = "scratch"
"""Folder in a workspace for what a restart needs and the finished artifact does not."""
_PROGRESS = "progress.json"
_INPUTS = "inputs.json"
"""In the scratch folder: the content of the artifacts that the work reads."""
_FORCED_BY = "forced-by"
"""There too: the request that forced the work."""


class State(Enum):
    """What the store holds of an artifact."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    PARTIAL = "partial"
    ABSENT = "absent"


@dataclass(frozen=True)
class Inspection:
    """The state of one artifact, with the reason where it is not whole."""

    state: State
    folder: Path
    manifest: Manifest | None
    reason: str


@dataclass(frozen=True)
class Identity:
    """What an artifact is called and why."""

    stage: str
    fingerprint: str
    run: str
    reads: dict[str, Any]
    inputs: dict[str, str]
    forced_by: str | None = None
    """The request that forces it; one that is made again goes on with what it began."""


class ArtifactStore:
    """Artifacts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Where a whole artifact lies."""
        return self.root / stage / fingerprint

    def workspace(self, stage: str, fingerprint: str) -> Path:
        """Where an artifact is worked on."""
        return self.root / stage / f"{fingerprint}.partial"

    def incoming(self, stage: str, fingerprint: str) -> Path:
        """Where an artifact is fetched to; what an earlier attempt left there is kept."""
        folder = self._incoming(stage, fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def cache(self, name: str) -> Path:
        """A folder for pieces of work that several artifacts share; their names are their content."""
        return self.root / "cache" / name

    def inspect(self, stage: str, fingerprint: str) -> Inspection:
        """Look at an artifact, reading every file of it that has changed since this process last did."""
        folder = self.folder(stage, fingerprint)
        manifest = read_manifest(folder)
        if manifest is None:
            if folder.exists():
                return Inspection(State.DAMAGED, folder, None, f"{MANIFEST} is missing or damaged")
            if self.workspace(stage, fingerprint).is_dir():
                return Inspection(State.PARTIAL, folder, None, describe_progress(self.workspace(stage, fingerprint)))
            return Inspection(State.ABSENT, folder, None, "not computed yet")
        damage = find_damage(folder, manifest)
        if damage is not None:
            return Inspection(State.DAMAGED, folder, manifest, damage)
        return Inspection(State.WHOLE, folder, manifest, "")

    def has_any(self, stage: str) -> bool:
        """Whether there is any artifact of a stage."""
        return next((self.root / stage).glob(f"*/{MANIFEST}"), None) is not None

    def manifests(self, stage: str) -> list[Manifest]:
        """Manifests of a stage's artifacts, the newest first."""
        found = [read_manifest(path.parent) for path in (self.root / stage).glob(f"*/{MANIFEST}")]
        return sorted((m for m in found if m is not None), key=lambda m: m.finished, reverse=True)

    @contextmanager
    def lock(self, stage: str, fingerprint: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold an artifact's lock; the system frees it when the process ends, however it ends.

        Args:
            stage: the stage.
            fingerprint: the artifact's name.
            waiting: called once if another process holds it.
        """
        self.folder(stage, fingerprint).parent.mkdir(parents=True, exist_ok=True)
        with hold(self.root / stage / f"{fingerprint}.lock", waiting):
            yield

    def begin(self, identity: Identity, *, afresh: bool) -> Path:
        """The workspace of an artifact.

        What an earlier attempt left there is kept, unless `afresh` or it came of inputs that were computed
        again since, with another content.
        """
        workspace = self.workspace(identity.stage, identity.fingerprint)
        noted = workspace / SCRATCH / _INPUTS
        inputs = json.dumps(identity.inputs, sort_keys=True)
        if not noted.exists() or noted.read_bytes() != inputs.encode() or afresh:
            if workspace.exists():
                shutil.rmtree(workspace)
            noted.parent.mkdir(parents=True)
            if identity.forced_by is not None:
                write_atomically(noted.with_name(_FORCED_BY), identity.forced_by)
            write_atomically(noted, inputs)
        for stray in workspace.glob(".*.tmp"):
            if stray.is_dir():
                shutil.rmtree(stray)
            else:
                stray.unlink()
        return workspace

    def was_begun(self, identity: Identity) -> bool:
        """Whether the request that forces this work has begun it, and come so far that nothing older is in it."""
        workspace = self.workspace(identity.stage, identity.fingerprint)
        forced_by = _forced_by(workspace)
        return forced_by is not None and forced_by == identity.forced_by and (workspace / _PROGRESS).exists()

    def commit(self, identity: Identity, summary: dict[str, Any], started: float) -> Manifest:
        """Write the manifest and rename the workspace into place.

        Args:
            identity: the artifact.
            summary: the stage's figures.
            started: `time.monotonic()` at the beginning.
        """
        workspace = self.workspace(identity.stage, identity.fingerprint)
        (workspace / _PROGRESS).unlink(missing_ok=True)
        files = list_files(workspace, without=SCRATCH)
        manifest = Manifest(
            stage=identity.stage,
            fingerprint=identity.fingerprint,
            run=identity.run,
            reads=identity.reads,
            inputs=identity.inputs,
            files=files,
            content=content_digest(files),
            summary=summary,
            versions=package_versions(),
            machine=describe_machine(),
            finished=datetime.now(UTC).isoformat(timespec="microseconds"),
            seconds=round(time.monotonic() - started, 3),
            forced_by=_forced_by(workspace),
        )
        for name in files:
            sync(workspace / name)
        write_atomically(workspace / MANIFEST, manifest_text(manifest))
        self._put_in_place(workspace, identity.stage, identity.fingerprint)
        # What came of a copy that was damaged, or not fetched to its end.
        shutil.rmtree(self._incoming(identity.stage, identity.fingerprint), ignore_errors=True)
        return manifest

    def accept(self, stage: str, fingerprint: str) -> None:
        """Put an artifact that was fetched whole in place; work that was begun on it here is not needed any more."""
        incoming = self.incoming(stage, fingerprint)
        for path in incoming.rglob("*"):
            sync(path)
        self._put_in_place(incoming, stage, fingerprint)
        shutil.rmtree(self.workspace(stage, fingerprint), ignore_errors=True)

    def recover(self, stage: str, fingerprint: str) -> bool:
        """Finish a `commit` that was killed after it wrote the manifest; whether there was one."""
        workspace = self.workspace(stage, fingerprint)
        manifest = read_manifest(workspace)
        if manifest is None:
            return False
        if find_damage(workspace, manifest) is not None:
            (workspace / MANIFEST).unlink()
            return False
        self._put_in_place(workspace, stage, fingerprint)
        return True

    def _incoming(self, stage: str, fingerprint: str) -> Path:
        return self.root / stage / f"{fingerprint}.fetched"

    def _put_in_place(self, workspace: Path, stage: str, fingerprint: str) -> None:
        folder = self.folder(stage, fingerprint)
        shutil.rmtree(workspace / SCRATCH, ignore_errors=True)
        discarded = folder.with_name(f"{folder.name}.discarded")
        shutil.rmtree(discarded, ignore_errors=True)
        if folder.exists():
            folder.rename(discarded)
        workspace.rename(folder)
        sync(folder.parent)
        shutil.rmtree(discarded, ignore_errors=True)


def _forced_by(workspace: Path) -> str | None:
    noted = workspace / SCRATCH / _FORCED_BY
    return noted.read_text(encoding="utf-8") if noted.exists() else None


def note_progress(workdir: Path, done: int, total: int, unit: str) -> None:
    """Note in a workspace how far its stage has come, for `bdpo plan`."""
    write_atomically(workdir / _PROGRESS, json.dumps({"done": done, "total": total, "unit": unit}))


def describe_progress(workdir: Path) -> str:
    """What `note_progress` last left, in words."""
    try:
        noted = json.loads((workdir / _PROGRESS).read_text(encoding="utf-8"))
        return f"{noted['done']} of {noted['total']} {noted['unit']} done"
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # It is for people alone: the stage finds out for itself how far it has come.
        return "begun"


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that it is there whole or as it was."""
    # Containers that share a folder may share process ids too.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Make what was written to a file, or renamed in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
