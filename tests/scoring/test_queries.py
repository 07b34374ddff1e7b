"""The questions that the README answers with a query, on a tiny run."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from bdpo.artifacts.catalogue import query_catalogue
from bdpo.balance import Forms, balance_weights
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.tiny_run import CATEGORIES, tiny_run

MOST_IMBALANCED = """
select pair_id, mi_chosen, mi_rejected, imbalance, weight_chosen, weight_rejected
from scored_pairs order by abs(imbalance) desc limit 5
"""
BY_CATEGORY = """
select category, count(*) as num_pairs, avg(abs(imbalance)) as mean_abs_imbalance, avg(imbalance) as mean_imbalance
from scored_pairs group by category order by 3 desc
"""
BY_LENGTH = """
select tokens_from, count(*) as num_responses, avg(mi) as mean_mi
from (
    select tokens // 32 * 32 as tokens_from, mi
    from (
        select unnest([chosen_tokens, rejected_tokens]) as tokens, unnest([mi_chosen, mi_rejected]) as mi
        from scored_pairs
    )
)
group by 1 order by 1
"""
RANKED_WRONGLY = """
select count(*) filter (ref_chosen_logps < ref_rejected_logps) as by_sum,
    count(*) filter (ref_chosen_logps / chosen_tokens < ref_rejected_logps / rejected_tokens) as by_token,
    count(*) as num_pairs
from scored_pairs
"""
SUMMARY = "select * from mi_summary"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of artifacts of a run that has ingested and scored."""
    folder = tmp_path_factory.mktemp("queries")
    pipeline = Pipeline(load_config(tiny_run(folder, 40)), checks=GreatExpectationsChecks())
    pipeline.run_stage("ingest")
    pipeline.run_stage("score")
    return folder / "artifacts"


@pytest.fixture(scope="module")
def pairs(root: Path) -> list[dict[str, Any]]:
    """What was scored, from the artifact itself."""
    (file,) = root.glob("score/*/scored_pairs.parquet")
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def ask(root: Path, sql: str) -> list[dict[str, Any]]:
    names, rows = query_catalogue(root, sql)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_the_most_imbalanced_pairs(root: Path, pairs: list[dict[str, Any]]) -> None:
    expected = sorted(pairs, key=lambda pair: -abs(pair["imbalance"]))[:5]
    found = ask(root, MOST_IMBALANCED)
    assert [row["pair_id"] for row in found] == [pair["pair_id"] for pair in expected]
    for row in found:
        assert (row["weight_chosen"] <= row["weight_rejected"]) == (row["mi_chosen"] >= row["mi_rejected"])


def test_weights_are_those_of_the_method_that_ran_last_and_of_no_other_artifact(root: Path) -> None:
    (every,) = ask(root, "select * from all_scored_pairs limit 1")
    (plain,) = ask(root, "select * from scored_pairs limit 1")
    assert plain.keys() - every.keys() == {"weight_chosen", "weight_rejected", "scale"}
    assert every.keys() - plain.keys() == {"artifact"}
    sql = "select bool_and(weight_chosen = 1) as plain from scored_pairs"
    assert ask(root, sql) == [{"plain": False}]
    for method, is_plain in (("dpo", True), ("bdpo", False)):
        config = load_config(root.parent / "config.yaml", [f"train.method={method}"])
        assert Pipeline(config, checks=GreatExpectationsChecks()).run_stage("score").cached
        assert ask(root, sql) == [{"plain": is_plain}]


def test_imbalance_by_category(root: Path, pairs: list[dict[str, Any]]) -> None:
    found = {row["category"]: row for row in ask(root, BY_CATEGORY)}
    assert set(found) == set(CATEGORIES)
    for category, row in found.items():
        own = [pair["imbalance"] for pair in pairs if pair["category"] == category]
        assert row["num_pairs"] == len(own)
        assert row["mean_abs_imbalance"] == pytest.approx(np.mean(np.abs(own)))


def test_length_against_comprehension(root: Path, pairs: list[dict[str, Any]]) -> None:
    found = ask(root, BY_LENGTH)
    assert sum(row["num_responses"] for row in found) == 2 * len(pairs)
    for row in found:
        own = [
            pair[f"mi_{side}"]
            for pair in pairs
            for side in ("chosen", "rejected")
            if pair[f"{side}_tokens"] // 32 * 32 == row["tokens_from"]
        ]
        assert row["mean_mi"] == pytest.approx(np.mean(own))


def test_pairs_that_the_reference_already_ranks_wrongly(root: Path, pairs: list[dict[str, Any]]) -> None:
    (found,) = ask(root, RANKED_WRONGLY)
    assert found["num_pairs"] == len(pairs)
    assert found["by_sum"] == sum(pair["ref_chosen_logps"] < pair["ref_rejected_logps"] for pair in pairs)
    assert 0 < found["by_sum"] < len(pairs)
    assert found["by_token"] == sum(
        pair["ref_chosen_logps"] / pair["chosen_tokens"] < pair["ref_rejected_logps"] / pair["rejected_tokens"]
        for pair in pairs
    )


def test_the_summary_of_mutual_information(root: Path, pairs: list[dict[str, Any]]) -> None:
    found = {(row["split"], row["side"]): row for row in ask(root, SUMMARY)}
    sides = {"chosen": "mi_chosen", "rejected": "mi_rejected", "difference": "imbalance"}
    assert set(found) == {(split, side) for split in ("all", "train", "validation") for side in sides}
    for (split, side), row in found.items():
        own = np.array([pair[sides[side]] for pair in pairs if split in ("all", pair["split"])])
        assert row["num_pairs"] == len(own)
        assert row["mean"] == pytest.approx(own.mean())
        assert row["std"] == pytest.approx(own.std())
        assert row["share_negative"] == pytest.approx((own < 0).mean())
        assert row["mean_abs"] == pytest.approx(np.abs(own).mean())
        quantiles = [row[name] for name in ("min", "q05", "q25", "median", "q75", "q95", "max")]
        assert quantiles == pytest.approx(np.quantile(own, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]))


def test_the_summary_of_every_artifact(root: Path) -> None:
    (artifact,) = (path.name for path in root.glob("score/*") if path.is_dir())
    every = ask(root, "select * from all_mi_summary")
    assert every == [{"artifact": artifact} | row for row in ask(root, SUMMARY)]


@pytest.mark.parametrize(
    ("overrides", "forms", "mi_floor", "tau"),
    [
        (
            ["train.balance=softmax", "train.scale=norm", "train.tau=0.3"],
            Forms("softmax", "norm", normalise=False),
            0.05,
            0.3,
        ),
        (["train.method=dpo_bw", "train.mi_floor=0.4"], Forms("inverse", "none", normalise=True), 0.4, 1.0),
    ],
)
def test_weights_are_those_of_the_settings_of_the_latest_run(
    root: Path, tmp_path: Path, overrides: list[str], forms: Forms, mi_floor: float, tau: float
) -> None:
    shutil.copytree(root.parent, tmp_path / "run")
    settings = load_config(tmp_path / "run" / "config.yaml", overrides)
    assert Pipeline(settings, checks=GreatExpectationsChecks()).run_stage("score").cached
    found = ask(tmp_path / "run" / "artifacts", "select * from scored_pairs")
    mi_chosen, mi_rejected = (
        torch.tensor([row[name] for row in found], dtype=torch.float64) for name in ("mi_chosen", "mi_rejected")
    )
    is_train = torch.tensor([row["split"] == "train" for row in found])
    expected = balance_weights(mi_chosen, mi_rejected, forms=forms, mi_floor=mi_floor, tau=tau, mean_over=is_train)
    names = {"weight_chosen": expected.chosen, "weight_rejected": expected.rejected, "scale": expected.scale}
    for name, weights in names.items():
        assert [row[name] for row in found] == pytest.approx(weights.tolist(), rel=1e-12), name


def test_the_questions_of_the_readme_are_answered(root: Path) -> None:
    (block,) = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    questions = [question for question in block.split(";") if question.strip()]
    assert len(questions) == 3
    assert not any(question.lstrip().startswith("-") for question in questions), "`bdpo query` would take an option"
    assert all(ask(root, question) for question in questions)
