"""Training rows: joined by content, ordered by safety for SafeDPO, without scores for those who need none."""

import random
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bdpo.balance import method_forms
from bdpo.errors import UserError
from bdpo.layout.chat import tokenize_pair
from bdpo.layout.cuts import Cuts
from bdpo.logprobs.keys import sequence_key
from bdpo.schemas import PAIRS
from bdpo.training.prepare import PREPARED, Counts, Prepared, count_pairs, prepare, read_split
from tests.tiny import tiny_tokenizer

SIDES = ("prompt", "chosen", "rejected")
LIMITS = {"max_length": 256, "max_prompt_length": 128}


def pair(name: str, chosen_safe: bool | None = True, rejected_safe: bool | None = False) -> dict[str, Any]:
    return {
        "pair_id": name,
        "prompt": [{"role": "user", "content": f"Question {name}"}],
        "chosen": f"Good {name}",
        "rejected": f"Bad {name}, and longer",
        "split": "train",
        "source": "test",
        "chosen_safe": chosen_safe,
        "rejected_safe": rejected_safe,
    }


def score(row: dict[str, Any]) -> dict[str, Any]:
    ids = tokenize_pair(tiny_tokenizer(), row["prompt"], row["chosen"], row["rejected"], **LIMITS)
    return {
        "pair_id": row["pair_id"],
        "chosen_key": sequence_key(ids.prompt_ids, ids.chosen_ids, "scorer"),
        "rejected_key": sequence_key(ids.prompt_ids, ids.rejected_ids, "scorer"),
        "ref_chosen_logps": -10.0,
        "ref_rejected_logps": -30.0,
        "mi_chosen": 1.0,
        "mi_rejected": 0.5,
    }


def prepared(
    folder: Path, rows: list[dict[str, Any]], scores: list[dict[str, Any]] | None, method: Any = "bdpo"
) -> tuple[Prepared, Counts]:
    pq.write_table(pa.Table.from_pylist(rows, PAIRS), folder / "pairs.parquet")
    if scores is not None:
        pq.write_table(pa.Table.from_pylist(scores), folder / "scores.parquet")
    counts = prepare(
        folder / "pairs.parquet",
        None if scores is None else folder / "scores.parquet",
        folder / "prepared.parquet",
        tokenizer=tiny_tokenizer(),
        scorer_digest="scorer",
        forms=method_forms(method),
        mi_floor=0.05,
        tau=1.0,
        needs_safety_labels=method == "safedpo",
        **LIMITS,
    )
    return read_split(folder / "prepared.parquet", "train"), counts


def test_scores_are_joined_by_content_not_by_order(tmp_path: Path) -> None:
    rows = [pair("a"), pair("b")]
    scores = [score(rows[1]) | {"ref_chosen_logps": -11.0}, score(rows[0])]
    data, counts = prepared(tmp_path, rows, scores)
    assert (data.pair_ids, counts) == (["a", "b"], Counts(0, Cuts(2, 0, 0)))
    assert data.ref_logps.tolist() == [[-10, -30], [-11, -30]]
    # I of 1 and 0.5: 2 * 0.5 / 1.5 and 2 * 1 / 1.5
    assert data.weights.tolist() == [pytest.approx([2 / 3, 4 / 3], rel=1e-6)] * 2
    assert data.unsafe_difference.tolist() == [0, 0]


def test_normalised_weights_have_mean_one_over_the_training_split_alone(tmp_path: Path) -> None:
    """Raw weights 1 and 2 of `a`, 4 and 1 of `b`: a mean of 2; `held`, of which nothing counts, has 20 and 10."""
    rows = [pair("a"), pair("b"), pair("held") | {"split": "validation"}]
    informed = zip(rows, ((1.0, 0.5), (0.25, 1.0), (0.01, 0.1)), strict=True)
    scores = [score(row) | {"mi_chosen": chosen, "mi_rejected": rejected} for row, (chosen, rejected) in informed]
    data, _ = prepared(tmp_path, rows, scores, "dpo_bw")
    assert data.pair_ids == ["a", "b"]
    assert data.mi.tolist() == [[1.0, 0.5], [0.25, 1.0]]
    assert data.weights.tolist() == [pytest.approx([0.5, 1.0]), pytest.approx([2.0, 0.5])]
    held = read_split(tmp_path / "prepared.parquet", "validation")
    assert (held.pair_ids, held.weights.tolist()) == (["held"], [pytest.approx([10.0, 5.0])])


def test_what_is_prepared_takes_few_bytes_an_id(tmp_path: Path) -> None:
    """Every process of a training holds all of it."""
    num, chance = 500, random.Random(0)
    ids = {f"{name}_ids": [chance.choices(range(1000, 3000), k=200) for _ in range(num)] for name in SIDES}
    numbers = {name: [0.0] * num for name in PREPARED.names[5:]}
    table = pa.table({"pair_id": list(map(str, range(num))), "split": ["train"] * num, **ids, **numbers}, PREPARED)
    pq.write_table(table, tmp_path / "x.parquet")
    read_split(tmp_path / "x.parquet", "validation")  # what is imported for it is none of it
    tracemalloc.start()
    try:
        data = read_split(tmp_path / "x.parquet", "train")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 12 * 600 * num
    assert data.rows[3].prompt_ids == tuple(ids["prompt_ids"][3])
    assert data.rows[3].responses == (tuple(ids["chosen_ids"][3]), tuple(ids["rejected_ids"][3]))
    assert count_pairs(tmp_path / "x.parquet") == {"train": num}


@pytest.mark.parametrize("damage", ["chosen_key", "rejected_key", "missing"])
def test_a_pair_without_its_own_score_is_refused(tmp_path: Path, damage: str) -> None:
    rows = [pair("a"), pair("b")]
    scores = [score(rows[0])]
    if damage != "missing":
        scores.append(score(rows[1]) | {damage: "of other tokens"})
    with pytest.raises(UserError, match="the pair b has no score of these very tokens"):
        prepared(tmp_path, rows, scores)


def test_without_a_reference_no_score_is_asked_for(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path, [pair("a")], None, "simpo")
    assert data.ref_logps.tolist() == [[0, 0]]
    assert data.weights.tolist() == [[1, 1]]
    assert data.mi.isnan().all()


def test_what_is_cut_is_counted_in_both_splits(tmp_path: Path) -> None:
    """One token a byte: 200 bytes of a prompt are more than 128, 300 of a response more than the 128 that are left."""
    rows = [pair("a"), pair("b"), pair("c") | {"split": "validation", "rejected": "n" * 300}]
    rows[1] |= {"prompt": [{"role": "user", "content": "q" * 200}], "chosen": "y" * 300, "rejected": "n" * 300}
    _, counts = prepared(tmp_path, rows, None, "simpo")
    assert counts == Counts(0, Cuts(pairs=3, prompts=1, responses=3))


def test_safedpo_orders_by_safety_and_leaves_out_two_unsafe_ones(tmp_path: Path) -> None:
    rows = [pair("a"), pair("b", False, True), pair("c", False, False), pair("d", True, True)]
    data, counts = prepared(tmp_path, rows, [score(row) for row in rows], "safedpo")
    assert counts == Counts(1, Cuts(4, 0, 0))
    assert data.pair_ids == ["a", "b", "d"]
    assert data.unsafe_difference.tolist() == [1, 1, 0]
    straight, swapped = data.rows[0].responses, data.rows[1].responses
    assert len(straight[0]) < len(straight[1])
    assert len(swapped[0]) > len(swapped[1])
    assert data.ref_logps.tolist() == [[-10, -30], [-30, -10], [-10, -30]]
    assert data.mi[1].tolist() == [0.5, 1.0]
    assert data.weights.equal(torch.ones(3, 2))


def test_safedpo_without_labels_names_the_pair(tmp_path: Path) -> None:
    rows = [pair("a"), pair("b", None)]
    with pytest.raises(UserError, match="safedpo: the pair b has no chosen_safe and rejected_safe"):
        prepared(tmp_path, rows, [score(row) for row in rows], "safedpo")


def test_safedpo_without_a_safe_response_says_so(tmp_path: Path) -> None:
    rows = [pair("a", chosen_safe=False), pair("b", chosen_safe=False)]
    with pytest.raises(UserError, match=r"train\.method safedpo: 2 pairs have two unsafe responses, .*no other is in"):
        prepared(tmp_path, rows, [score(row) for row in rows], "safedpo")
