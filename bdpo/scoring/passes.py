"""Forward passes over keyed rows, gathered to shards."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from bdpo.layout.rows import Layout
from bdpo.logprobs.score import score_rows
from bdpo.scoring.sequences import KeyedRow


def score_in_shards(
    model: PreTrainedModel,
    rows: Sequence[KeyedRow],
    *,
    token_budget: int,
    layout: Layout,
    shard_sequences: int,
    share: slice = slice(None),
) -> Iterator[list[dict[str, Any]]]:
    """Score rows, whole forward passes at a time, so that a restart meets the same passes.

    Args:
        model: in eval mode.
        rows: what to score.
        token_budget: most tokens of a forward pass, padding included.
        layout: what `choose_layout` proved for this model.
        shard_sequences: fewest sequences of a shard; the last one may have fewer.
        share: which of the forward passes to do.

    Yields:
        Records of the SEQUENCES schema, a shard at a time.

    Raises:
        NonFinite: a log-prob is not finite, or positive; its index is a place in `rows`.
    """
    shard: list[dict[str, Any]] = []
    bare = [row.row for row in rows]
    for scored in score_rows(model, bare, token_budget=token_budget, layout=layout, share=share):
        shard += [
            {"key": key, "logp_sum": float(logps.sum(dtype=np.float64)), "n_tokens": len(logps), "logps": logps}
            for place, responses in zip(scored.indices, scored.logps, strict=True)
            for key, logps in zip(rows[place].keys, responses, strict=True)
        ]
        if len(shard) >= shard_sequences:
            yield shard
            shard = []
    if shard:
        yield shard
