"""Stage 2, score: the log-probs of every response under the reference model, with and without its prompt."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import SCRATCH, note_progress
from bdpo.balance import method_forms, weights_sql
from bdpo.config import ModelSettings, ScoreSettings, TrainSettings
from bdpo.errors import UserError
from bdpo.layout import TokenizedPair, Untokenizable, null_prompt, tokenize_pairs
from bdpo.logprobs import NonFinite, Scorer, choose_layout
from bdpo.models import ModelSource, load_for_inference, load_tokenizer
from bdpo.progress import Progress
from bdpo.schemas import Checks
from bdpo.scoring.merge import merge
from bdpo.scoring.parallel import BadLogprob, score_in_processes
from bdpo.scoring.passes import score_in_shards
from bdpo.scoring.sequences import PairKeys, TokenSequence, name_sequences, share_prompts
from bdpo.scoring.shards import Shards


def score(
    *,
    settings: ScoreSettings,
    model: ModelSettings,
    source: ModelSource,
    pairs: Path,
    cache: Path,
    workdir: Path,
    checks: Checks,
    progress: Progress,
) -> dict[str, Any]:
    """Score what is not scored yet, a shard at a time, and gather the pairs' scores.

    Args:
        settings: sizes of forward passes and shards.
        model: truncation, dtype and attention.
        source: the reference model, loaded from its own folder.
        pairs: folder with `pairs.parquet`.
        cache: folder of the sequences that all runs share.
        workdir: gets `scores.duckdb`, `scored_pairs.parquet` and `data_docs/`.
        checks: row rules on what was scored.
        progress: where to show what happens.

    Returns:
        Counts, speed, and how mutual information is distributed.

    Raises:
        UserError: the model gives a log-prob that is none; the pair is named.
    """
    started = time.monotonic()
    tokenizer = load_tokenizer(source.folder, trust_remote_code=model.trust_remote_code)
    scorer = Scorer(source.weights_digest, model.dtype, model.attention).digest
    table = pq.read_table(pairs / "pairs.parquet")
    tokenized = _tokenize(tokenizer, table, model)
    empty = null_prompt(tokenizer, max_prompt_length=model.max_prompt_length)
    keys, sequences = name_sequences(tokenized, empty, scorer)

    shards = Shards(cache / scorer)
    with shards.lock(lambda: progress.say("score: another process is scoring with this model; waiting for it to end")):
        debris = shards.sweep()
        if debris:
            progress.say(f"score: {len(debris)} damaged or unfinished shards deleted, to be scored again")
        missing = sequences.keys() - shards.find(sequences.keys())
        progress.begin("score", len(sequences), "sequences", done=len(sequences) - len(missing))
        wanted = {key: sequence for key, sequence in sequences.items() if key in missing}
        done = len(sequences) - len(missing)

        def advance(written: int) -> None:
            nonlocal done
            done += written
            note_progress(workdir, done, len(sequences), "sequences")
            progress.advance(written)

        try:
            if wanted and settings.processes > 1:
                _score_in_processes(wanted, settings, model, source, shards, workdir, progress.say, advance)
            elif wanted:
                _score_here(wanted, settings, model, source, shards, progress.say, advance)
        except BadLogprob as problem:
            raise _not_finite(problem, keys, table) from problem
    for name in PairKeys._fields:
        table = table.append_column(name, pa.array([getattr(pair, name) for pair in keys], pa.string()))
    defaults = TrainSettings()
    weights = weights_sql(forms=method_forms("bdpo"), mi_floor=defaults.mi_floor, tau=defaults.tau)
    gathered = merge(workdir / "scores.duckdb", pairs=table, shards=shards.paths(), weights=weights)
    frame = gathered.drop_columns(["prompt", "chosen", "rejected"]).to_pandas()
    failures = checks.scored_pairs(frame)
    checks.write_docs(workdir / "data_docs")
    if failures:
        first = failures[0]
        raise UserError(
            f"score: the pair {frame['pair_id'][first.index]} breaks the rule {first.rule}: {first.reason}."
        )
    write_parquet(gathered, workdir / "scored_pairs.parquet")
    seconds = time.monotonic() - started
    return {
        "pairs": len(keys),
        "sequences": len(sequences),
        "sequences_scored": len(missing),
        "sequences_reused": len(sequences) - len(missing),
        "tokens_scored": sum(len(sequence.response_ids) for sequence in wanted.values()),
        "seconds": round(seconds, 1),
        "mutual_information": {side: _distribution(frame[f"mi_{side}"].to_numpy()) for side in ("chosen", "rejected")},
        "mean_abs_imbalance": float(frame["imbalance"].abs().mean()),
    }


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


def _tokenize(tokenizer: PreTrainedTokenizerBase, table: pa.Table, model: ModelSettings) -> list[TokenizedPair]:
    texts = (
        (row["prompt"], row["chosen"], row["rejected"])
        for batch in table.select(["prompt", "chosen", "rejected"]).to_batches(max_chunksize=1024)
        for row in batch.to_pylist()
    )
    tokenized: list[TokenizedPair] = []
    for pair in tokenize_pairs(
        tokenizer, texts, max_length=model.max_length, max_prompt_length=model.max_prompt_length
    ):
        if isinstance(pair, Untokenizable):
            # Ingestion refuses such rows with the same tokenizer, which is part of its fingerprint.
            pair_id = table["pair_id"][len(tokenized)].as_py()
            raise UserError(f"score: the pair {pair_id} cannot be laid out: {pair.reason}.") from pair
        tokenized.append(pair)
    return tokenized


def _not_finite(problem: BadLogprob, keys: Sequence[PairKeys], table: pa.Table) -> UserError:
    place = next(i for i, pair in enumerate(keys) if problem.key in pair)
    return UserError(
        f"score: the model gives a token of the pair {table['pair_id'][place].as_py()} the log-prob "
        f"{problem.value}, which is no finite number of at most 0; look at this pair, or try model.dtype float32."
    )


def _distribution(mi: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": float(mi.mean()), "std": float(mi.std()), "share_negative": float((mi < 0).mean())}
