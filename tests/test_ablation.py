"""The ablation: the choice of a learning rate, the comparison over seeds, and the whole of it on tiny models."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from bdpo.ablation import ablate, compare, validation_of
from bdpo.artifacts.parquet import write_parquet
from bdpo.cli.comparison import ablate as ablate_command
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.evaluation.comparison import Comparison
from bdpo.fingerprints import Stage
from bdpo.pipeline import Pipeline, StageResult
from bdpo.progress import Silent
from data_checks import GreatExpectationsChecks
from tests.evaluation.test_comparison import evaluated
from tests.paths import ROOT, shared_data
from tests.tiny_run import tiny_run

GRID = {"methods": {"dpo": {}, "bdpo": {}}, "learning_rates": [1e-4, 1e-3], "seeds": [0, 1]}


def test_a_learning_rate_is_judged_by_the_weights_that_its_policy_has(tmp_path: Path) -> None:
    """The loss was lowest at step 2; a policy of step 4, as without early stopping, does not have those weights."""
    rows = [
        {"step": step, "split": split, "metric": metric, "value": value}
        for step, split, metric, value in (
            (2, "train", "loss", 0.1),
            (2, "validation", "eval_loss", 0.6),
            (4, "validation", "eval_loss", 0.7),
            (2, "validation", "eval_rewards/accuracies", 0.3),
            (4, "validation", "eval_rewards/accuracies", 0.4),
        )
    ]
    write_parquet(pa.Table.from_pylist(rows), tmp_path / "metrics.parquet")
    assert validation_of(tmp_path, 4, "eval_loss") == 0.7
    assert validation_of(tmp_path, 2, "eval_loss") == 0.6
    assert validation_of(tmp_path, 4, "eval_rewards/accuracies") == 0.4
    with pytest.raises(UserError, match=r"validation split, which is empty: raise ingest\.validation_fraction"):
        validation_of(tmp_path, 4, "eval_rewards/margins")


def test_methods_over_seeds_by_hand(tmp_path: Path) -> None:
    """`dpo` refuses 2 and 4 of 10 prompts, `bdpo` 8 and 8: 30 and 80 per cent; the base model none."""
    evaluated(tmp_path, "d0", [True] * 2 + [False] * 8, elsewhere={"validation pairs": "preference_accuracy"})
    evaluated(tmp_path, "d1", [True] * 4 + [False] * 6)
    evaluated(tmp_path, "b0", [True] * 8 + [False] * 2)
    evaluated(tmp_path, "b1", [True] * 8 + [False] * 2)
    table, records, not_compared, *_ = compare(tmp_path, {"dpo": ["d0", "d1"], "bdpo": ["b0", "b1"]}, 0.95)
    assert not_compared == ["validation pairs"]
    (row,) = table
    assert list(row) == ["figure (%)", "base", "dpo", "bdpo"]
    assert row["base"] == "0.0 [0.0, 27.8]\n(n = 10)"
    assert row["dpo"].startswith("30.0 [")
    assert row["dpo"].endswith("(n = 10, 2 seeds 20.0 to 40.0)")
    assert "80.0 [" in row["bdpo"]
    assert re.search(r"\n\+50\.0 \[\+\d+\.\d, \+\d+\.\d\]\np = 0\.0", row["bdpo"])
    assert [(r["model"], r["value"], r["seeds"]) for r in records] == [
        ("base", 0, 1),
        ("dpo", 0.3, 2),
        ("bdpo", 0.8, 2),
    ]


def test_prompts_without_a_verdict_from_every_run_are_counted(tmp_path: Path) -> None:
    """Of 6 prompts `d0` has no verdict on one and `b0` none on another; `d` and `b` share none of their two."""
    evaluated(tmp_path, "d0", [True, None, False, False, False, False])
    evaluated(tmp_path, "d1", [True] * 6)
    evaluated(tmp_path, "b0", [None, True, True, True, True, True])
    evaluated(tmp_path, "b1", [True] * 6)
    found = compare(tmp_path, {"dpo": ["d0", "d1"], "bdpo": ["b0", "b1"]}, 0.95)
    ((row,), records, *_) = found
    assert found.caveats == [
        "some model has no verdict on 2 of 6 prompts of b, refusal of harmful prompts, which are not compared: what a "
        "judge or its filter declines, it declines for what is said"
    ]
    assert row["base"].endswith("\n(n = 4, 2 without a verdict from every run)")
    assert "\n(n = 4, 2 without a verdict from every run, 2 seeds 0.0 to 100.0)" in row["dpo"]
    assert [(r["value"], r["n"], r["unscored"]) for r in records] == [(0.0, 4, 2), (0.5, 4, 2), (1.0, 4, 2)]
    evaluated(tmp_path, "d", [None, True])
    evaluated(tmp_path, "b", [True, None])
    ((row,), records, *_) = compare(tmp_path, {"dpo": ["d"], "bdpo": ["b"]}, 0.95)
    assert {row[name] for name in ("base", "dpo", "bdpo")} == {"no value\n(n = 0, 2 without a verdict from every run)"}
    assert [(r["model"], r["value"], r["n"], r["unscored"]) for r in records] == [
        (name, None, 0, 2) for name in ("base", "dpo", "bdpo")
    ]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"methods": {"dpo": {"gamma": 1.0}}}, r"field `ablation\.methods\.dpo`: `gamma` is not used by the method"),
        ({"methods": {"dpo": {"beat": 1.0}}}, r"unknown field `ablation\.methods\.dpo\.beat`: did you mean `beta`\?"),
        ({"methods": {}}, r"field `ablation\.methods`"),
        ({"seeds": []}, r"field `ablation\.seeds`"),
        ({"seeds": [0, -1]}, r"field `ablation\.seeds\.1`"),
        ({"seeds": [1, 0, 1]}, r"field `ablation\.seeds`: 1 is there twice, and would be one training: remove one"),
        ({"learning_rates": [0.0]}, r"field `ablation\.learning_rates\.0`"),
        ({"rates": [1.0]}, r"unknown field `ablation\.rates`.*Allowed here: choose_by, learning_rates, methods, seeds"),
    ],
)
def test_a_wrong_grid_is_named_before_anything_runs(tmp_path: Path, grid: dict[str, Any], message: str) -> None:
    path = config_with(tmp_path, GRID | grid)
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_a_config_without_a_grid_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no section `ablation`"):
        ablate(load_config(tiny_run(tmp_path)), checks=GreatExpectationsChecks(), progress=Silent())


def test_the_ready_config_loads_and_shares_pairs_and_scores() -> None:
    config = load_config(ROOT / "configs" / "ablation.yaml")
    assert config.ablation is not None
    assert {"dpo", "dpo_bw", "dpo_sf", "bdpo", "simpo", "cpo", "safedpo", "ipo"} <= config.ablation.methods.keys()
    simpo = config.trained_by("simpo", learning_rate=1e-5, seed=3)
    assert (simpo.method, simpo.beta, simpo.gamma, simpo.learning_rate, simpo.seed) == ("simpo", 2.0, 1.0, 1e-5, 3)


def test_labelled_pairs_of_real_rows(tmp_path: Path) -> None:
    source, target = shared_data("hh_rlhf/harmless-base-test.jsonl.gz"), tmp_path / "new" / "pairs.jsonl"
    command = [sys.executable, str(ROOT / "configs" / "ablation" / "pairs.py")]
    settings: dict[str, Any] = {"capture_output": True, "text": True, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    done = subprocess.run([*command, str(source), str(target)], check=True, **settings)
    written, left_out = (int(word) for word in done.stdout.split() if word.isdigit())
    assert written + left_out == 2312
    assert written > 2200
    assert target.read_text().count('"rejected_safe": false') == written
    wrong = subprocess.run([*command, "gone.gz", str(target)], check=False, **settings)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: ")


@pytest.mark.slow
def test_the_whole_on_a_tiny_model_scores_once(tmp_path: Path) -> None:
    config = load_config(config_with(tmp_path, GRID))
    found = ablate(config, checks=GreatExpectationsChecks(), progress=Silent())
    assert [(t.method, t.learning_rate) for t in found.trials] == [
        ("dpo", 1e-4),
        ("dpo", 1e-3),
        ("bdpo", 1e-4),
        ("bdpo", 1e-3),
    ]
    assert [sum(t.chosen for t in found.trials if t.method == method) for method in ("dpo", "bdpo")] == [1, 1]
    assert found.trainings == 6  # two methods by two rates, and a second seed of each method
    assert found.sequences_scored == found.sequences > 0
    assert found.rescored == 0
    assert {name for row in found.table for name in row} == {"figure (%)", "base", "dpo", "bdpo"}
    assert found.not_compared == ["validation pairs (by which the learning rates were chosen, so too good)"]
    evaluations = sorted((tmp_path / "artifacts" / "evaluate").glob("*/judgements.parquet"))
    assert len(evaluations) == 4
    base = [[r["key"] for r in pq.read_table(p).to_pylist() if r["model"] == "base"] for p in evaluations]
    assert all(keys == base[0] for keys in base)
    again = ablate(config, checks=GreatExpectationsChecks(), progress=Silent())
    assert (again.table, again.sequences_scored, again.rescored) == (found.table, 0, 0)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Stage]]:
    """Methods and stages that `ablate` asked for; nothing is run or compared."""
    ran: list[tuple[str, Stage]] = []

    def run_stage(pipeline: Pipeline, stage: Stage, **_: object) -> StageResult:
        done = (pipeline.config.train.method, stage)
        ran.append(done)
        summary = {"sequences": 4, "sequences_scored": 4, "policy_of_step": 2}
        return StageResult(stage, tmp_path / pipeline.config.name, ran.count(done) > 1, [], summary, 0.0)

    monkeypatch.setattr(Pipeline, "run_stage", run_stage)
    monkeypatch.setattr("bdpo.ablation.validation_of", lambda *_: 0.5)
    compared = Comparison([], [], ["arc_easy", "validation pairs"], caveats=["the items of b are not independent"])
    monkeypatch.setattr("bdpo.ablation.compare", lambda *_: compared)
    (tmp_path / "artifacts").mkdir()
    return ran


@pytest.mark.parametrize(
    ("rates", "chosen"), [([1e-3], ""), ([1e-3, 1e-4], " (by which the learning rates were chosen, so too good)")]
)
@pytest.mark.usefixtures("ran")
def test_what_the_figures_do_not_say_stands_under_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rates: list[float], chosen: str
) -> None:
    grid = {"methods": {"dpo": {}}, "learning_rates": rates, "seeds": [0]}
    ablate_command(config_with(tmp_path, grid), [])
    assert (
        " nothing of others. What intervals and p do not know: the items of b are not independent. Not compared here, "
        f"but in the runs' own reports: arc_easy; validation pairs{chosen}.\n"
    ) in capsys.readouterr().out


def test_methods_without_a_reference_model_score_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ran: list[tuple[str, Stage]]
) -> None:
    """Of the stages only which of them run is looked at."""
    said = {
        ("simpo", "cpo"): "\n2 trainings have no reference model, so nothing was scored; figures in ",
        ("simpo", "dpo"): "\n2 trainings share 4 scored sequences: 4 were scored now, 0 again; figures in ",
    }
    for methods, sentence in said.items():
        ran.clear()
        grid = {"methods": {method: {} for method in methods}, "learning_rates": [1e-3], "seeds": [0]}
        ablate_command(config_with(tmp_path, grid), [])
        assert sentence in capsys.readouterr().out
        assert {method for method, stage in ran if stage == "score"} == set(methods) & {"dpo"}
        assert [stage for method, stage in ran if method == "simpo"] == [
            "ingest",
            "train",
            "ingest",
            "train",
            "evaluate",
        ]


def config_with(folder: Path, grid: dict[str, Any]) -> Path:
    """A tiny run's config with this grid."""
    path = tiny_run(folder)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"ablation": grid}, sort_keys=False))
    return path
