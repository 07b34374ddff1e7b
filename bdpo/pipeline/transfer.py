"""Artifacts between this machine and the remote store; where there is none, nothing is done."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from bdpo.artifacts.manifest import Manifest
from bdpo.artifacts.pieces import Pieces
from bdpo.artifacts.remote import DamagedCopy
from bdpo.errors import UserError
from bdpo.fingerprints import Stage
from bdpo.pipeline.lookup import ArtifactLookup
from bdpo.progress import Progress


class Fetched(NamedTuple):
    """What came of fetching an artifact."""

    manifest: Manifest | None
    """Of the artifact, which is now here; None where the remote store has none that can be used."""
    damage: str | None
    """Why what the remote store has cannot be used, in a phrase."""


def fetch(lookup: ArtifactLookup, stage: Stage, progress: Progress) -> Fetched:
    """Bring an artifact here, under its lock.

    Args:
        lookup: of the artifacts.
        stage: the stage; its lock must be held.
        progress: where to show what happens.
    """
    if lookup.remote is None:
        return Fetched(None, None)
    fingerprint = lookup.fingerprints[stage]
    place = lookup.remote_folder(stage)
    copy = lookup.remote.look(stage, fingerprint)
    manifest, damage = lookup.if_it_fits(stage, copy.manifest), copy.damage
    if manifest is not None:
        progress.say(f"{stage}: fetching the artifact from {place}")
        try:
            lookup.remote.fetch(manifest, lookup.store.incoming(stage, fingerprint), progress)
            lookup.store.accept(stage, fingerprint)
            return Fetched(manifest, None)
        except DamagedCopy as found:
            damage = str(found)
    return Fetched(None, None if damage is None else f"the artifact in {place} is damaged: {damage}")


def bring_inputs(lookup: ArtifactLookup, stage: Stage, progress: Progress) -> list[Stage]:
    """Fetch the inputs of a stage that are not here; those that the remote store does not have either."""
    missing: list[Stage] = []
    for above in lookup.inputs[stage]:
        if lookup.is_missing(above):
            with lookup.store.lock(above, lookup.fingerprints[above], partial(say_waiting, above, progress)):
                if lookup.is_missing(above) and fetch(lookup, above, progress).manifest is None:
                    missing.append(above)
    return missing


def push(
    lookup: ArtifactLookup,
    stage: Stage,
    manifest: Manifest,
    progress: Progress,
    *,
    computed: bool = False,
    mend: bool = False,
) -> str | None:
    """Put a finished artifact into the remote store, unless an equal one is there that needs no mending.

    Where the store cannot be asked, or takes nothing, that is said.  A cached artifact is used all the same, and no
    other one tried: its run needs nothing of the store.

    Of two that differ, such as by rounding, the one that was finished last is the store's.  Else two machines would
    replace each other's at every run, and undo what was forced on one of them.

    Args:
        lookup: of the artifacts.
        stage: the stage.
        manifest: of its artifact here.
        progress: where to show what happens.
        computed: it was finished just now, whatever another machine's clock says.
        mend: replace what is there, which is damaged.

    Returns:
        Why an artifact that was finished just now is not there.
    """
    if lookup.remote is None or (lookup.store_is_away and not computed):
        return None
    try:
        there = lookup.remote_manifest(stage)
        differs = there is None or (there.content, there.inputs) != (manifest.content, manifest.inputs)
        outdated = there is not None and there.finished > manifest.finished and not computed
        if mend or (differs and not outdated):
            progress.say(f"{stage}: pushing the artifact to {lookup.remote_folder(stage)}")
            lookup.remote.push(lookup.folder(stage), manifest, progress)
    except UserError as error:
        if computed:
            progress.say(f"{stage}: finished, but not pushed to the remote store, and the run goes on: {error}")
            return str(error)
        lookup.store_is_away = True
        progress.say(f"{stage}: what is cached here is used, and nothing of it pushed to the remote store: {error}")
    return None


def pieces(lookup: ArtifactLookup, name: str, folder: Path) -> Pieces | None:
    """What the remote store has of a cache's folder here; None where there is no such store."""
    return None if lookup.remote is None else lookup.remote.pieces(name, folder)


def say_waiting(stage: Stage, progress: Progress) -> None:
    """Say that somebody else has the lock of a stage's artifact."""
    progress.say(f"{stage}: another process is working on this artifact; waiting for it to end")
