"""Held-out preference accuracy: how often a model finds the chosen response likelier."""

from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.artifacts.kept import kept_table
from bdpo.layout.chat import tokenize_pair
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs.score import NonFinite, score_rows

_SCHEMA = pa.schema([("pair_id", pa.string()), ("chosen", pa.float64()), ("rejected", pa.float64())])
_TOKEN_BUDGET = 4096
_PIECE_PAIRS = 64
_READ_ROWS = 1024
_COLUMNS = ("pair_id", "prompt", "chosen", "rejected", "split", "ref_chosen_logps", "ref_rejected_logps")


class HeldOut(NamedTuple):
    """Pairs of the validation split, one a prompt."""

    pairs: list[dict[str, Any]]
    limited_from: int | None
    """How many prompts there are, where a limit left some out."""


def held_out_pairs(path: Path, limit: int | None) -> HeldOut:
    """The pairs whose ranking is compared: of each prompt the first by pair_id, which is a digest.

    Pairs of one prompt are not independent, and intervals and tests take them to be.  As for the splits, prompts that
    differ in nothing but the white space around their messages are one.

    Args:
        path: `scored_pairs.parquet`, which has the reference model's log-probs too, or `pairs.parquet`.
        limit: at most this many, spread evenly.
    """
    pair_id = itemgetter("pair_id")
    of_prompt: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    with pq.ParquetFile(path) as file:
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(_READ_ROWS, columns=columns):
            for row in batch.filter(pc.field("split") == "validation").to_pylist():
                messages = tuple((message["role"], message["content"].strip()) for message in row["prompt"])
                of_prompt[messages] = min(row, of_prompt.get(messages, row), key=pair_id)
    rows = sorted(of_prompt.values(), key=pair_id)
    if limit is None or len(rows) <= limit:
        return HeldOut(rows, None)
    return HeldOut([rows[i * len(rows) // limit] for i in range(limit)], len(rows))


def ranked_right(chosen: float, rejected: float) -> bool:
    """Whether the chosen response has the strictly higher summed log-prob."""
    return chosen > rejected


def score_held_out(
    model: PreTrainedModel,
    layout: Layout,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[dict[str, Any]],
    folder: Path,
    *,
    max_length: int,
    max_prompt_length: int,
    advance: Callable[[int], None],
) -> Mapping[str, tuple[float, float]]:
    """Summed log-probs of both responses under a model, kept a piece at a time.

    Args:
        model: in eval mode.
        layout: proved for it.
        tokenizer: its tokenizer.
        pairs: with `pair_id, prompt, chosen, rejected`.
        folder: where pieces are kept for a restart.
        max_length: longest prompt plus response.
        max_prompt_length: longest prompt.
        advance: called with the number of pairs that were done.

    Returns:
        pair_id to (chosen, rejected), in nats.

    Raises:
        UserError: the model gives a log-prob that is none; the pair is named.
    """
    result: dict[str, tuple[float, float]] = {}
    for start in range(0, len(pairs), _PIECE_PAIRS):
        piece = pairs[start : start + _PIECE_PAIRS]
        make = partial(_score, model, layout, tokenizer, piece, max_length, max_prompt_length)
        for row in kept_table(folder, f"{start:08d}", make).to_pylist():
            result[row["pair_id"]] = (row["chosen"], row["rejected"])
        advance(len(piece))
    return result


def _score(
    model: PreTrainedModel,
    layout: Layout,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[dict[str, Any]],
    max_length: int,
    max_prompt_length: int,
) -> pa.Table:
    rows = []
    for pair in pairs:
        ids = tokenize_pair(
            tokenizer,
            pair["prompt"],
            pair["chosen"],
            pair["rejected"],
            max_length=max_length,
            max_prompt_length=max_prompt_length,
        )
        rows.append(Row(ids.prompt_ids, (ids.chosen_ids, ids.rejected_ids)))
    records: list[dict[str, Any]] = [{} for _ in pairs]
    try:
        for scored in score_rows(model, rows, token_budget=_TOKEN_BUDGET, layout=layout):
            for place, (chosen, rejected) in zip(scored.indices, scored.logps, strict=True):
                records[place] = {
                    "pair_id": pairs[place]["pair_id"],
                    "chosen": float(chosen.sum(dtype="float64")),
                    "rejected": float(rejected.sum(dtype="float64")),
                }
    except NonFinite as problem:
        raise problem.explained("evaluate", f"the pair {pairs[problem.index]['pair_id']}") from problem
    return pa.Table.from_pylist(records, _SCHEMA)
