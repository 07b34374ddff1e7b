"""Filling the cache of scored sequences: whatever is missing goes through the model, a shard at a time."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bdpo.artifacts.pieces import Pieces
from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.config import ModelSettings, ScoreSettings
from bdpo.logprobs import NonFinite
from bdpo.models.gpus import count_gpus, shown_device
from bdpo.models.source import ModelSource
from bdpo.progress import Progress
from bdpo.scoring.parallel import BadLogprob, ScoreJob, score_in_processes
from bdpo.scoring.passes import load_to_score, score_to_shards
from bdpo.scoring.sequences import TokenSequence, share_prompts
from bdpo.scoring.shards import Shards


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What pairs are scored with, and where."""

    settings: ScoreSettings
    """Sizes of forward passes and shards."""
    model: ModelSettings
    """Truncation, dtype and attention."""
    source: ModelSource
    """The reference model, loaded from its own folder."""
    pairs: Path
    """Folder with `pairs.parquet`."""
    cache: Path
    """Folder of the sequences that all runs share."""
    remote: Callable[[Path], Pieces | None]
    """For a folder of shards, where they are fetched from and pushed to, for other machines and for after a kill."""
    workdir: Path
    """The stage's own folder."""
    afresh: bool
    """Score what shards have, too."""
    progress: Progress


@contextmanager
def filled(
    scoring: Scoring, shards: Shards, sequences: Mapping[str, TokenSequence], *, beside_others: bool
) -> Iterator[dict[str, TokenSequence]]:
    """Score what no shard has; nobody takes it out again while the block runs.

    Args:
        scoring: with what.
        shards: of this scorer.
        sequences: what is asked for, by key.
        beside_others: others may do their shares of the same work in the same folder meanwhile.

    Yields:
        What was scored.

    Raises:
        BadLogprob: the model gives a log-prob that is none.
        UserError: the user's model, settings, disk or remote store are at fault.
    """
    progress, remote = scoring.progress, scoring.remote(shards.folder)

    def waiting() -> None:
        progress.say("score: another process is scoring with this model; waiting for it to end")

    with (shards.join if beside_others else shards.lock)(waiting):
        debris = [] if beside_others else shards.sweep()
        if debris:
            progress.say(f"score: {len(debris)} damaged or unfinished shards deleted, to be scored again")
        if scoring.afresh:
            _forget(shards, remote, sequences, progress)
            found: set[str] = set()
        else:
            found = _find(shards, remote, sequences, progress, swept=not beside_others)
        wanted = {key: sequence for key, sequence in sequences.items() if key not in found}
        done = len(found)
        progress.begin("score", len(sequences), "sequences", done=done)

        def kept(written: int) -> None:
            nonlocal done
            done += written
            if remote is not None:
                remote.push()
            note_progress(scoring.workdir, done, len(sequences), "sequences")

        if remote is not None:
            # What an earlier run could not push, too.
            remote.push()
        if wanted:
            if scoring.model.compile:
                progress.say("score: the model's layers are compiled, which may take a minute")
            score = _score_in_processes if scoring.settings.processes > 1 else _score_here
            score(scoring, shards, wanted, kept)
        yield wanted


def _find(
    shards: Shards, remote: Pieces | None, sequences: Mapping[str, TokenSequence], progress: Progress, *, swept: bool
) -> set[str]:
    """The sequences that are scored, here or, where one is missing here, in the remote store."""
    found = shards.find(sequences.keys(), swept=swept)
    if remote is not None and len(found) < len(sequences):
        brought = remote.bring(progress.say)
        if brought:
            progress.say(f"score: {brought} shards fetched")
            found = shards.find(sequences.keys(), swept=swept)
    return found


def _forget(shards: Shards, remote: Pieces | None, sequences: Mapping[str, TokenSequence], progress: Progress) -> None:
    """Take the sequences out of the shards here and in the remote store."""
    if remote is None:
        shards.forget(sequences.keys())
    else:
        remote.bring(progress.say)
        remote.delete(shards.forget(sequences.keys()))


def _score_here(
    scoring: Scoring, shards: Shards, wanted: Mapping[str, TokenSequence], kept: Callable[[int], None]
) -> None:
    settings, model = scoring.settings, scoring.model
    reference, layout = load_to_score(scoring.source, model, scoring.progress.say)
    scoring.progress.say(f"score: the model is on {shown_device(reference)}")
    rows = share_prompts(wanted, token_budget=settings.token_budget, layout=layout)
    try:
        score_to_shards(
            reference,
            rows,
            shards,
            token_budget=settings.token_budget,
            layout=layout,
            shard_sequences=settings.shard_sequences,
            scored=scoring.progress.advance,
            kept=kept,
        )
    except NonFinite as problem:
        raise BadLogprob(rows[problem.index].keys[problem.response], problem.value) from problem


def _score_in_processes(
    scoring: Scoring, shards: Shards, wanted: Mapping[str, TokenSequence], kept: Callable[[int], None]
) -> None:
    settings = scoring.settings
    folder = scoring.workdir / SCRATCH / "score"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = ScoreJob(
        sequences=folder / "sequences.parquet",
        shards=shards.folder,
        source=scoring.source,
        model=scoring.model,
        token_budget=settings.token_budget,
        shard_sequences=settings.shard_sequences,
        processes=settings.processes,
    )
    place = "with a GPU each" if count_gpus() else "on the CPU"
    scoring.progress.say(f"score: {settings.processes} processes, {place}")
    for line in score_in_processes(wanted, job, folder, scored=scoring.progress.advance, kept=kept):
        scoring.progress.say(line)
