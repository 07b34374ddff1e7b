"""Pairs joined with their scores by content, tokenised and weighted: what the worker trains on."""

from collections import Counter
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
from bdpo.layout.chat import TokenizedPair, tokenize_pairs
from bdpo.layout.cuts import Cuts
from bdpo.layout.ids import id_tuples
from bdpo.layout.rendering import Untokenizable
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
        pa.field("mi_chosen", pa.float64()),
        pa.field("mi_rejected", pa.float64()),
        pa.field("weight_chosen", pa.float64(), nullable=False),
        pa.field("weight_rejected", pa.float64(), nullable=False),
        pa.field("unsafe_difference", pa.float64(), nullable=False),
    ]
)
"""`scratch/prepared.parquet`; the weights are the scaled ones, s * w; without a reference its log-probs are 0."""


class Counts(NamedTuple):
    """Of the pairs that training rows were made from."""

    left_out: int
    """Pairs of two unsafe responses, which SafeDPO does without."""
    cuts: Cuts
    """Among all pairs, of either split."""


class Prepared(NamedTuple):
    """The rows of one split; n pairs, by pair_id."""

    pair_ids: list[str]
    rows: list[Row]
    ref_logps: torch.Tensor
    """(n, 2) float32, chosen and rejected, in nats; 0 without a reference."""
    mi: torch.Tensor
    """(n, 2) float32, chosen and rejected, nats a token; nan without a reference."""
    weights: torch.Tensor
    """(n, 2) float32, chosen and rejected, scaled."""
    unsafe_difference: torch.Tensor
    """(n,) float32: 1 where only the rejected response is unsafe, else 0."""


def prepare(
    pairs: Path,
    scores: Path | None,
    target: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    scorer_digest: str,
    forms: Forms,
    mi_floor: float,
    tau: float,
    max_length: int,
    max_prompt_length: int,
    needs_safety_labels: bool = False,
) -> Counts:
    """Write the training rows.

    A pair meets its scores by the digest of its exact tokens and of the scorer, never by its place.

    Args:
        pairs: `pairs.parquet`.
        scores: `scored_pairs.parquet`; None for a method without a reference.
        target: the file to write.
        tokenizer: of the model.
        scorer_digest: of the reference model, dtype and attention that the scores must come from.
        forms: balance weight and scaling factor.
        mi_floor: smallest mutual information that a form divides by.
        tau: temperature of `softmax`.
        max_length: longest prompt plus response.
        max_prompt_length: longest prompt.
        needs_safety_labels: order pairs by safety, as SafeDPO does (arXiv 2505.20065, section 4): the safe
            response is the chosen one, and a pair of two unsafe ones is left out.

    Returns:
        How many pairs were left out and cut.

    Raises:
        UserError: a pair has no score or no safety label, or there is nothing to train on.
    """
    scored: dict[str, dict[str, Any]] = {}
    if scores is not None:
        scored = {row["pair_id"]: row for row in pq.read_table(scores, columns=_SCORED).to_pylist()}
    rows: list[dict[str, Any]] = []
    laid_out: list[TokenizedPair] = []
    left_out = 0
    table = pq.read_table(pairs).to_pylist()
    tokenized = tokenize_pairs(
        tokenizer,
        ((pair["prompt"], pair["chosen"], pair["rejected"]) for pair in table),
        max_length=max_length,
        max_prompt_length=max_prompt_length,
    )
    for pair, ids in zip(table, tokenized, strict=True):
        if isinstance(ids, Untokenizable):
            # Ingestion refuses such rows with the same tokenizer, which is part of its fingerprint.
            raise UserError(f"train: the pair {pair['pair_id']} cannot be laid out: {ids.reason}.") from ids
        row = {"pair_id": pair["pair_id"], "split": pair["split"], "unsafe_difference": 0.0}
        row |= {"prompt_ids": ids.prompt_ids, "chosen_ids": ids.chosen_ids, "rejected_ids": ids.rejected_ids}
        laid_out.append(ids)
        if scores is not None:
            row |= _score(scored.get(pair["pair_id"]), ids, pair["pair_id"], scorer_digest, scores)
        else:
            row |= {"ref_chosen_logps": 0.0, "ref_rejected_logps": 0.0, "mi_chosen": None, "mi_rejected": None}
        if needs_safety_labels:
            ordered = _order_by_safety(row, pair["chosen_safe"], pair["rejected_safe"])
            left_out += ordered is None
            rows += [] if ordered is None else [ordered]
        else:
            rows.append(row)
    is_train = torch.tensor([row["split"] == "train" for row in rows], dtype=torch.bool)
    if not is_train.any():
        if left_out:
            raise UserError(
                f"train.method safedpo: {left_out} pairs have two unsafe responses, which it leaves out, and no other "
                "is in the training split; add pairs with a safe response, or use another method."
            )
        raise UserError(f"{pairs}: no pair is in the training split; lower ingest.validation_fraction or add rows.")
    mi = torch.tensor([[row["mi_chosen"] or 0.0, row["mi_rejected"] or 0.0] for row in rows], dtype=torch.float64)
    weights = balance_weights(mi[:, 0], mi[:, 1], forms=forms, mi_floor=mi_floor, tau=tau, mean_over=is_train)
    scaled = zip(rows, weights.scaled_chosen.tolist(), weights.scaled_rejected.tolist(), strict=True)
    records = [row | {"weight_chosen": chosen, "weight_rejected": rejected} for row, chosen, rejected in scaled]
    write_parquet(pa.Table.from_pylist(records, PREPARED), target)
    return Counts(left_out, Cuts.of(laid_out))


def _score(
    score: dict[str, Any] | None, ids: TokenizedPair, pair_id: str, scorer_digest: str, scores: Path
) -> dict[str, Any]:
    keys = [sequence_key(ids.prompt_ids, side, scorer_digest) for side in (ids.chosen_ids, ids.rejected_ids)]
    if score is None or [score["chosen_key"], score["rejected_key"]] != keys:
        raise UserError(
            f"{scores}: the pair {pair_id} has no score of these very tokens by this reference model; "
            "run the stage score again (`--force score`)."
        )
    return {name: score[name] for name in ("ref_chosen_logps", "ref_rejected_logps", "mi_chosen", "mi_rejected")}


def _order_by_safety(
    row: dict[str, Any], chosen_safe: bool | None, rejected_safe: bool | None
) -> dict[str, Any] | None:
    if chosen_safe is None or rejected_safe is None:
        raise UserError(
            f"train.method safedpo: the pair {row['pair_id']} has no chosen_safe and rejected_safe; give these columns "
            "for every row, or use a method without safety labels."
        )
    if not chosen_safe and not rejected_safe:
        return None
    row = row | {"unsafe_difference": float(chosen_safe != rejected_safe)}
    if chosen_safe:
        return row
    swapped = {"chosen": "rejected", "rejected": "chosen"}
    return row | {name: row[name.replace(side, swapped[side])] for name in row for side in swapped if side in name}


def read_split(path: Path, split: str) -> Prepared:
    """Read one split of what `prepare` wrote."""
    table = pq.read_table(path).filter(pc.field("split") == split)
    prompts, chosen, rejected = (id_tuples(table[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected"))

    def both(name: Callable[[str], str]) -> torch.Tensor:
        columns = [table[name(side)].to_numpy() for side in ("chosen", "rejected")]
        # A missing mutual information becomes nan.
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    return Prepared(
        pair_ids=table["pair_id"].to_pylist(),
        rows=[Row(prompt, sides) for prompt, sides in zip(prompts, zip(chosen, rejected, strict=True), strict=True)],
        ref_logps=both(lambda side: f"ref_{side}_logps"),
        mi=both(lambda side: f"mi_{side}"),
        weights=both(lambda side: f"weight_{side}"),
        unsafe_difference=torch.tensor(table["unsafe_difference"].to_pylist()),
    )


def count_pairs(path: Path) -> Counter[str]:
    """How many rows each split has of what `prepare` wrote."""
    return Counter(pq.read_table(path, columns=["split"])["split"].to_pylist())


_SCORED = [
    "pair_id",
    "chosen_key",
    "rejected_key",
    "ref_chosen_logps",
    "ref_rejected_logps",
    "mi_chosen",
    "mi_rejected",
]
