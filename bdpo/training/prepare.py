"""Pairs joined with their scores by content, tokenised and weighted: what the worker trains on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedTokenizerBase

from bdpo.artifacts.parquet import write_parquet
from bdpo.balance import Forms, balance_weights
from bdpo.errors import UserError
from bdpo.layout.chat import Untokenizable, tokenize_pair
from bdpo.layout.rows import Row
from bdpo.logprobs.keys import sequence_key

PREPARED = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("chosen_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("rejected_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("ref_chosen_logps", pa.float64(), nullable=False),
        pa.field("ref_rejected_logps", pa.float64(), nullable=False),
        pa.field("weight_chosen", pa.float64(), nullable=False),
        pa.field("weight_rejected", pa.float64(), nullable=False),
    ]
)
"""`scratch/prepared.parquet`; the weights are the scaled ones, s * w."""


class Prepared(NamedTuple):
    """The rows of one split; n pairs, by pair_id."""

    pair_ids: list[str]
    rows: list[Row]
    ref_logps: torch.Tensor
    """(n, 2) float32, chosen and rejected, in nats."""
    weights: torch.Tensor
    """(n, 2) float32, chosen and rejected, scaled."""


def prepare(
    pairs: Path,
    scores: Path,
    target: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    scorer_digest: str,
    forms: Forms,
    mi_floor: float,
    tau: float,
    max_length: int,
    max_prompt_length: int,
) -> None:
    """Write the training rows.

    A pair meets its scores by the digest of its exact tokens and of the scorer, never by its place.

    Args:
        pairs: `pairs.parquet`.
        scores: `scored_pairs.parquet`.
        target: the file to write.
        tokenizer: of the model.
        scorer_digest: of the reference model, dtype and attention that the scores must come from.
        forms: balance weight and scaling factor.
        mi_floor: smallest mutual information that a form divides by.
        tau: temperature of `softmax`.
        max_length: longest prompt plus response.
        max_prompt_length: longest prompt.

    Raises:
        UserError: a pair has no score, or there is nothing to train on.
    """
    table = pq.read_table(pairs)
    scored = {row["pair_id"]: row for row in pq.read_table(scores, columns=_SCORED).to_pylist()}
    rows: list[dict[str, Any]] = []
    for pair in table.to_pylist():
        try:
            ids = tokenize_pair(
                tokenizer,
                pair["prompt"],
                pair["chosen"],
                pair["rejected"],
                max_length=max_length,
                max_prompt_length=max_prompt_length,
            )
        except Untokenizable as problem:
            # Ingestion refuses such rows with the same tokenizer, which is part of its fingerprint.
            raise UserError(f"train: the pair {pair['pair_id']} cannot be laid out: {problem.reason}.") from problem
        score = scored.get(pair["pair_id"])
        keys = [sequence_key(ids.prompt_ids, side, scorer_digest) for side in (ids.chosen_ids, ids.rejected_ids)]
        if score is None or [score["chosen_key"], score["rejected_key"]] != keys:
            raise UserError(
                f"{scores}: the pair {pair['pair_id']} has no score of these very tokens by this reference model; "
                "run the stage score again (`--force score`)."
            )
        rows.append({"pair_id": pair["pair_id"], "split": pair["split"], **ids._asdict(), **score})
    is_train = torch.tensor([row["split"] == "train" for row in rows])
    if not is_train.any():
        raise UserError(f"{pairs}: no pair is in the training split; lower ingest.validation_fraction or add rows.")
    mi = torch.tensor([[row["mi_chosen"], row["mi_rejected"]] for row in rows], dtype=torch.float64)
    weights = balance_weights(mi[:, 0], mi[:, 1], forms=forms, mi_floor=mi_floor, tau=tau, mean_over=is_train)
    scaled = zip(rows, weights.scaled_chosen.tolist(), weights.scaled_rejected.tolist(), strict=True)
    records = [row | {"weight_chosen": chosen, "weight_rejected": rejected} for row, chosen, rejected in scaled]
    write_parquet(pa.Table.from_pylist(records, PREPARED), target)


def read_split(path: Path, split: str) -> Prepared:
    """Read one split of what `prepare` wrote."""
    table = pq.read_table(path)
    rows = table.filter(pc.field("split") == split).to_pylist()

    def both(name: Callable[[str], str]) -> torch.Tensor:
        columns = [[row[name(side)] for side in ("chosen", "rejected")] for row in rows]
        return torch.from_numpy(np.asarray(columns, dtype=np.float32).reshape(-1, 2))

    return Prepared(
        pair_ids=[row["pair_id"] for row in rows],
        rows=[Row(tuple(r["prompt_ids"]), (tuple(r["chosen_ids"]), tuple(r["rejected_ids"]))) for r in rows],
        ref_logps=both(lambda side: f"ref_{side}_logps"),
        weights=both(lambda side: f"weight_{side}"),
    )


_SCORED = [
    "pair_id",
    "chosen_key",
    "rejected_key",
    "ref_chosen_logps",
    "ref_rejected_logps",
    "mi_chosen",
    "mi_rejected",
]
