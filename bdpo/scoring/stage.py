"""Stage 2, score: the log-probs of every response under the reference model, with and without its prompt."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.parquet import write_parquet
from bdpo.config import ModelSettings
from bdpo.errors import UserError
from bdpo.layout.chat import TokenizedPair, null_prompt, tokenize_pairs
from bdpo.layout.cuts import Cuts
from bdpo.layout.rendering import Untokenizable
from bdpo.logprobs import Scorer
from bdpo.models.loading import load_tokenizer
from bdpo.schemas import Checks
from bdpo.scoring.fill import Scoring, filled
from bdpo.scoring.merge import merge
from bdpo.scoring.parallel import BadLogprob
from bdpo.scoring.sequences import PairKeys, TokenSequence, name_sequences
from bdpo.scoring.shards import Shards
from bdpo.scoring.shares import Share


def score(scoring: Scoring, checks: Checks) -> dict[str, Any]:
    """Score what is not scored yet, a shard at a time, and gather the pairs' scores.

    Args:
        scoring: with what; its `workdir` gets `scores.duckdb`, `scored_pairs.parquet` and `data_docs/`.
        checks: row rules on what was scored.

    Returns:
        Counts, speed, and how mutual information is distributed.

    Raises:
        UserError: the model gives a log-prob that is none; the pair is named.
    """
    started = time.monotonic()
    asked = _read(scoring)
    shards = Shards(scoring.cache / asked.scorer)
    workdir = scoring.workdir
    table, keys = asked.table, asked.keys
    for name in PairKeys._fields:
        table = table.append_column(name, pa.array([getattr(pair, name) for pair in keys], pa.string()))
    with _filled(scoring, asked, shards, asked.sequences, beside_others=False) as wanted:
        gathered = merge(workdir / "scores.duckdb", pairs=table, shards=shards.paths())
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
        "prompts_cut": asked.cuts.prompts,
        "responses_cut": asked.cuts.responses,
        "sequences": len(asked.sequences),
        "sequences_scored": len(wanted),
        "sequences_reused": len(asked.sequences) - len(wanted),
        "tokens_scored": sum(len(sequence.response_ids) for sequence in wanted.values()),
        "seconds": round(seconds, 1),
        "mutual_information": {side: _distribution(frame[f"mi_{side}"].to_numpy()) for side in ("chosen", "rejected")},
        "mean_abs_imbalance": float(frame["imbalance"].abs().mean()),
    }


def score_share(scoring: Scoring, share: Share) -> dict[str, int]:
    """Score one machine's part of the sequences, for `score` to gather.

    Returns:
        Counts of the share.

    Raises:
        UserError: the model gives a log-prob that is none; the pair is named.
    """
    asked = _read(scoring)
    own = share.take(asked.sequences, asked.null_prompt)
    with _filled(scoring, asked, Shards(scoring.cache / asked.scorer), own, beside_others=True) as wanted:
        return {"sequences": len(own), "sequences_scored": len(wanted), "sequences_reused": len(own) - len(wanted)}


class _Asked(NamedTuple):
    """What a set of pairs asks of a scorer."""

    table: pa.Table
    keys: list[PairKeys]
    sequences: dict[str, TokenSequence]
    null_prompt: tuple[int, ...]
    scorer: str
    cuts: Cuts


def _read(scoring: Scoring) -> _Asked:
    model, source = scoring.model, scoring.source
    tokenizer = load_tokenizer(source.folder, trust_remote_code=model.trust_remote_code)
    scorer = Scorer.of(source, model).digest
    table = pq.read_table(scoring.pairs / "pairs.parquet")
    empty = null_prompt(tokenizer, max_prompt_length=model.max_prompt_length)
    pairs = _tokenize(tokenizer, table, model)
    cuts = Cuts.of(pairs)
    said = cuts.shown(max_length=model.max_length, max_prompt_length=model.max_prompt_length)
    if said is not None:
        scoring.progress.say(f"score: {said}")
    keys, sequences = name_sequences(pairs, empty, scorer, max_length=model.max_length, bos=tokenizer.bos_token_id)
    return _Asked(table, keys, sequences, empty, scorer, cuts)


@contextmanager
def _filled(
    scoring: Scoring, asked: _Asked, shards: Shards, sequences: Mapping[str, TokenSequence], *, beside_others: bool
) -> Iterator[dict[str, TokenSequence]]:
    """`filled`, and a log-prob that is none named by its pair."""
    try:
        with filled(scoring, shards, sequences, beside_others=beside_others) as wanted:
            yield wanted
    except BadLogprob as problem:
        raise _not_finite(problem, asked) from problem


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


def _not_finite(problem: BadLogprob, asked: _Asked) -> UserError:
    place = next(i for i, pair in enumerate(asked.keys) if problem.key in pair)
    return UserError(
        f"score: the model gives a token of the pair {asked.table['pair_id'][place].as_py()} the log-prob "
        f"{problem.value}, which is no finite number of at most 0; look at this pair, or try model.dtype float32."
    )


def _distribution(mi: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": float(mi.mean()), "std": float(mi.std()), "share_negative": float((mi < 0).mean())}
