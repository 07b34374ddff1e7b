"""Filling the cache of scored sequences: whatever is missing goes through the model, a shard at a time."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bdpo.artifacts.pieces import Pieces
from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.config import ModelSettings, ScoreSettings
from bdpo.logprobs import NonFinite, choose_layout
from bdpo.models import ModelSource, load_for_inference
from bdpo.progress import Progress
from bdpo.scoring.parallel import BadLogprob, score_in_processes
from bdpo.scoring.passes import score_in_shards
from bdpo.scoring.sequences import TokenSequence, share_prompts
from bdpo.scoring.shards import Shards


def fill(
    shards: Shards,
    sequences: Mapping[str, TokenSequence],
    *,
    settings: ScoreSettings,
    model: ModelSettings,
    source: ModelSource,
    remote: Pieces | None,
    workdir: Path,
    progress: Progress,
    beside_others: bool = False,
) -> dict[str, TokenSequence]:
    """Score what no shard has.

    Args:
        shards: of this scorer.
        sequences: what is asked for, by key.
        settings: sizes of forward passes and shards.
        model: truncation, dtype and attention.
        source: the reference model.
        remote: where shards are fetched from and pushed to, for other machines and for after a kill.
        workdir: for what the processes tell each other.
        progress: where to show what happens.
        beside_others: others may do their shares of the same work in the same folder meanwhile.

    Returns:
        What was scored.

    Raises:
        BadLogprob: the model gives a log-prob that is none.
        UserError: the user's model, settings, disk or remote store are at fault.
    """

    def waiting() -> None:
        progress.say("score: another process is scoring with this model; waiting for it to end")

    with (shards.join if beside_others else shards.lock)(waiting):
        debris = [] if beside_others else shards.sweep()
        if debris:
            progress.say(f"score: {len(debris)} damaged or unfinished shards deleted, to be scored again")
        found = shards.find(sequences.keys(), swept=not beside_others)
        if remote is not None and len(found) < len(sequences):
            brought = remote.bring(progress.say)
            if brought:
                progress.say(f"score: {brought} shards fetched")
                found = shards.find(sequences.keys(), swept=not beside_others)
        wanted = {key: sequence for key, sequence in sequences.items() if key not in found}
        done = len(found)
        progress.begin("score", len(sequences), "sequences", done=done)

        def advance(written: int) -> None:
            nonlocal done
            done += written
            if remote is not None:
                remote.push()
            note_progress(workdir, done, len(sequences), "sequences")
            progress.advance(written)

        if remote is not None:
            # What an earlier run could not push, too.
            remote.push()
        if wanted and settings.processes > 1:
            _score_in_processes(wanted, settings, model, source, shards, workdir, progress.say, advance)
        elif wanted:
            _score_here(wanted, settings, model, source, shards, progress.say, advance)
    return wanted


def _score_here(
    wanted: Mapping[str, TokenSequence],
    settings: ScoreSettings,
    model: ModelSettings,
    source: ModelSource,
    shards: Shards,
    say: Callable[[str], None],
    advance: Callable[[int], None],
) -> None:
    reference = load_for_inference(
        source.folder,
        dtype=model.dtype,
        attention=model.attention,
        trust_remote_code=model.trust_remote_code,
        quantization=source.quantization,
    )
    layout = choose_layout(reference, say, max_length=model.max_length)
    rows = share_prompts(wanted, token_budget=settings.token_budget, layout=layout)
    scored = score_in_shards(
        reference,
        rows,
        token_budget=settings.token_budget,
        layout=layout,
        shard_sequences=settings.shard_sequences,
    )
    try:
        for shard in scored:
            shards.write(shard)
            advance(len(shard))
    except NonFinite as problem:
        raise BadLogprob(rows[problem.index].keys[problem.response], problem.value) from problem


def _score_in_processes(
    wanted: Mapping[str, TokenSequence],
    settings: ScoreSettings,
    model: ModelSettings,
    source: ModelSource,
    shards: Shards,
    workdir: Path,
    say: Callable[[str], None],
    advance: Callable[[int], None],
) -> None:
    folder = workdir / SCRATCH / "score"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    told = {
        "shards": str(shards.folder),
        "model_folder": str(source.folder),
        "dtype": model.dtype,
        "attention": model.attention,
        "trust_remote_code": model.trust_remote_code,
        "quantization": source.quantization,
        "max_length": model.max_length,
        "token_budget": settings.token_budget,
        "shard_sequences": settings.shard_sequences,
        "processes": settings.processes,
    }
    for line in score_in_processes(wanted, folder, told, advance=advance):
        say(line)
