"""Forward passes over keyed rows, kept in shards."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from bdpo.config import ModelSettings
from bdpo.layout.rows import Layout
from bdpo.logprobs import choose_layout, compile_layers
from bdpo.logprobs.score import score_rows
from bdpo.models.loading import load_reference
from bdpo.models.source import ModelSource
from bdpo.scoring.sequences import KeyedRow
from bdpo.scoring.shards import Shards


def load_to_score(
    source: ModelSource, settings: ModelSettings, say: Callable[[str], None]
) -> tuple[PreTrainedModel, Layout]:
    """The reference model and the layout of its passes, its layers compiled where the settings say so.

    Raises:
        UserError: as for `load_reference`, `choose_layout` and `compile_layers`.
    """
    model = load_reference(source, settings)
    layout = choose_layout(model, say, max_length=settings.max_length)
    if settings.compile:
        compile_layers(model, layout, max_length=settings.max_length)
    return model, layout


def score_to_shards(
    model: PreTrainedModel,
    rows: Sequence[KeyedRow],
    shards: Shards,
    *,
    token_budget: int,
    layout: Layout,
    shard_sequences: int,
    share: slice = slice(None),
    scored: Callable[[int], None],
    kept: Callable[[int], None],
) -> None:
    """Score rows, whole forward passes at a time, so that a restart meets the same passes.

    Args:
        model: in eval mode.
        rows: what to score.
        shards: get what was scored, records of the SEQUENCES schema.
        token_budget: most tokens of a forward pass, padding included.
        layout: what `choose_layout` proved for this model.
        shard_sequences: fewest sequences of a shard; the last one may have fewer.
        share: which of the forward passes to do.
        scored: called after each forward pass with its number of sequences.
        kept: called after each shard with its number of sequences; a kill costs none of them.

    Raises:
        NonFinite: a log-prob is not finite, or positive; its index is a place in `rows`.
        UserError: its layers are compiled, and that again and again.
    """
    shard: list[dict[str, Any]] = []

    def keep() -> None:
        shards.write(shard)
        kept(len(shard))
        shard.clear()

    bare = [row.row for row in rows]
    for passed in score_rows(model, bare, token_budget=token_budget, layout=layout, share=share):
        records = [
            {"key": key, "logp_sum": float(logps.sum(dtype=np.float64)), "n_tokens": len(logps), "logps": logps}
            for place, responses in zip(passed.indices, passed.logps, strict=True)
            for key, logps in zip(rows[place].keys, responses, strict=True)
        ]
        shard += records
        scored(len(records))
        if len(shard) >= shard_sequences:
            keep()
    if shard:
        keep()
