"""The stage as it is: launched processes on a tiny model."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bdpo.errors import UserError
from bdpo.pipeline import StageResult
from tests.paths import ROOT
from tests.training.stage_runs import curve, metric, same, train, weights


def test_a_run_has_what_people_look_for(undisturbed: StageResult) -> None:
    names = {(split, name) for _, _, split, name, _ in curve(undisturbed)}
    known = {"loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}
    known |= {"logps/chosen", "logps/rejected", "weights/chosen", "weights/rejected"}
    known |= {"mi_correlation/chosen", "mi_correlation/rejected"}
    gaps = {"gap/rewards/accuracies", "gap/rewards/margins"}
    assert {name for split, name in names if split == "train"} == known | {"grad_norm", "learning_rate", "num_tokens"}
    assert {name for split, name in names if split == "validation"} == {f"eval_{name}" for name in known} | gaps
    assert all(math.isfinite(value) for *_, value in curve(undisturbed))
    assert metric(undisturbed, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert metric(undisturbed, "eval_loss")[-1] < math.log(2)
    tokens = metric(undisturbed, "num_tokens")
    assert tokens == sorted(tokens)
    weighed = zip(metric(undisturbed, "weights/chosen"), metric(undisturbed, "weights/rejected"), strict=True)
    assert all(chosen + rejected == pytest.approx(2, rel=1e-6) for chosen, rejected in weighed)


def test_out_comes_a_model_folder_that_loads(undisturbed: StageResult) -> None:
    folder = undisturbed.artifact / "policy"
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "chat_template" in (folder / "tokenizer_config.json").read_text() or "chat_template.jinja" in names
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    card = (folder / "README.md").read_text()
    assert "balance `inverse`, scale `harmonic`" in card
    assert f"| loss | {metric(undisturbed, 'loss')[-1]:.4g} | {metric(undisturbed, 'eval_loss')[-1]:.4g} |" in card


@pytest.mark.parametrize("split", ["train", "validation"])
def test_tensorboard_reads_the_same_curves(undisturbed: StageResult, split: str) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = (undisturbed.artifact / "tensorboard" / split).iterdir()
    found: dict[str, list[float]] = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(value.tensor.float_val[0])
    epochs = found.pop("epoch")
    assert epochs[-1] == 8
    names = {name for _, _, of, name, _ in curve(undisturbed) if of == split}
    assert found.keys() == {name.removeprefix("eval_") for name in names}
    for name in names:
        assert found[name.removeprefix("eval_")] == pytest.approx(metric(undisturbed, name), rel=1e-6), name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.method=safedpo", "has no chosen_safe and rejected_safe"),
        ("train.deepspeed=pairs.jsonl", "not a DeepSpeed config"),
        ("train.hostfile=pairs.jsonl", "is not a line of a DeepSpeed hostfile"),
    ],
)
def test_a_mistake_is_met_before_any_process_starts(
    config: Path, override: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    rows = [json.loads(line) for line in (config.parent / "pairs.jsonl").read_text().splitlines()]
    if "safedpo" in override:
        del rows[3]["chosen_safe"]
    (config.parent / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        train(config, override)
    assert not list((config.parent / "artifacts" / "train").glob("*/scratch/train.log"))


def test_a_diverging_run_stops_with_a_sentence_and_its_state(config: Path) -> None:
    with pytest.raises(UserError, match=r"Training stopped: the (loss|gradient's norm) is (nan|inf) at step \d+, in a"):
        train(config, "train.learning_rate=1e30", "train.warmup_ratio=0")
    (scratch,) = (config.parent / "artifacts" / "train").glob("*.partial/scratch")
    assert list((scratch / "checkpoints").glob("step-*/complete.json"))


def test_a_broken_policy_stops_each_run_that_evaluates_it(config: Path) -> None:
    """Its weights are no checkpoint, or the next run would go on behind the evaluation and give them out."""
    broken = ("train.learning_rate=1e30", "train.warmup_ratio=0", "train.max_steps=1")
    for _ in range(2):
        with pytest.raises(UserError, match=r"Training stopped: the validation loss is nan at step 1: lower train\."):
            train(config, *broken)
        (scratch,) = (config.parent / "artifacts" / "train").glob("*.partial/scratch")
        assert not list(scratch.glob("checkpoints/step-*"))


@pytest.mark.slow
def test_a_vanished_gradient_stops_with_a_sentence(config: Path) -> None:
    """Decay and momentum have moved the weights by then: they are no state before the step."""
    with pytest.raises(UserError, match=r"Training stopped: the gradient has vanished \(norm .*\) at step 1, in"):
        train(config, "train.beta=1e-20", "train.weight_decay=0.1")
    (scratch,) = (config.parent / "artifacts" / "train").glob("*.partial/scratch")
    assert not list(scratch.glob("checkpoints/step-*"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "robust", "ipo", "hinge", "simpo", "cpo", "safedpo", "bounded_dpo"])
def test_every_method_lowers_its_loss(config: Path, method: str) -> None:
    noise = ["train.label_smoothing=0.1"] if method == "robust" else []
    result = train(config, f"train.method={method}", "train.learning_rate=2e-3", *noise)
    losses = metric(result, "loss")
    assert losses[-1] < losses[0]
    assert metric(result, "eval_rewards/accuracies")[-1] > 0.5
    assert f"| method | {method} (arXiv" in (result.artifact / "policy" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [(), ("model.dtype=bfloat16", "train.processes=2", f"train.deepspeed={ROOT}/configs/deepspeed/zero3.json")]
)
def test_early_stopping_gives_the_best_evaluation(config: Path, how: tuple[str, ...]) -> None:
    """At this rate the tiny model overfits soon; the policy is the best evaluation's, as a shorter run ends with it."""
    fast = ("train.learning_rate=2e-2", "train.schedule=constant", "train.warmup_ratio=0", "train.epochs=40")
    often = (*how, *fast, "train.eval_every=2")
    result = train(config, *often, "train.early_stopping.patience=2")
    losses = metric(result, "eval_loss")
    best = losses.index(min(losses))
    assert len(losses) == best + 3, "two evaluations without a new best"
    assert result.summary["policy_of_step"] == 2 * (best + 1) < result.summary["steps"] < 40 * 8
    card = (result.artifact / "policy" / "README.md").read_text()
    assert f"| loss | {metric(result, 'loss')[2 * best + 1]:.4g} | {losses[best]:.4g} |" in card
    shorter = train(config, *often, f"train.max_steps={result.summary['policy_of_step']}")
    assert all(tensor.equal(weights(shorter)[name]) for name, tensor in weights(result).items())


@pytest.mark.slow
def test_deterministic_mode_trains_alike(config: Path, undisturbed: StageResult) -> None:
    """Every operation of a step has a deterministic kernel, or the mode would stop the run."""
    assert same(train(config, "train.deterministic=true"), undisturbed)


@pytest.mark.slow
def test_trackers_get_the_curve_when_asked_for(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    uri = f"sqlite:///{config.parent}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    result = train(config, "train.report_to=[wandb, mlflow]", "train.epochs=1")
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("bdpo").experiment_id])
    assert (run.info.run_name, run.info.status) == (f"bdpo-{result.artifact.name[:8]}", "FINISHED")
    assert [m.value for m in client.get_metric_history(run.info.run_id, "train/loss")] == metric(result, "loss")
    assert [m.value for m in client.get_metric_history(run.info.run_id, "eval/loss")] == metric(result, "eval_loss")
    assert list((config.parent / "artifacts").glob("wandb/offline-run-*/run-*.wandb"))
