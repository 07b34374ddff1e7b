"""The stage as it is: launched processes on a tiny model, killed, carried on, compared."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.models.loading import load_model
from bdpo.pipeline import Pipeline, StageResult
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.tiny_run import tiny_run

TRAIN = {"epochs": 4, "batch_size": 4, "eval_every": 8, "checkpoint_every": 4, "learning_rate": 5e-4}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages before training are done."""
    folder = tmp_path_factory.mktemp("scored")
    work = pipeline(tiny_run(folder, train=TRAIN))
    work.run_stage("ingest")
    work.run_stage("score")
    return folder


@pytest.fixture
def config(scored: Path, tmp_path: Path) -> Path:
    """A config in a copy of that folder."""
    shutil.copytree(scored, tmp_path / "run")
    return tmp_path / "run" / "config.yaml"


@pytest.fixture(scope="module")
def undisturbed(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    """A training that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(scored, folder / "run")
    return train(folder / "run" / "config.yaml")


def pipeline(config: Path, *overrides: str) -> Pipeline:
    return Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())


def train(config: Path, *overrides: str) -> StageResult:
    work = pipeline(config, *overrides)
    for stage in ("ingest", "score"):
        work.run_stage(stage)
    return work.run_stage("train")


def curve(result: StageResult) -> list[tuple[Any, ...]]:
    columns = pq.read_table(result.artifact / "metrics.parquet").to_pydict()
    return list(zip(*columns.values(), strict=True))


def metric(result: StageResult, name: str) -> list[float]:
    return [value for _, _, _, metric, value in curve(result) if metric == name]


def weights(result: StageResult) -> dict[str, torch.Tensor]:
    return load_file(result.artifact / "policy" / "model.safetensors")


def same(one: StageResult, other: StageResult) -> bool:
    return curve(one) == curve(other) and all(
        tensor.equal(weights(other)[name]) for name, tensor in weights(one).items()
    )


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


def test_tensorboard_reads_the_same_curve(undisturbed: StageResult) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = (undisturbed.artifact / "tensorboard" / "train").iterdir()
    values = [
        value.tensor.float_val[0]
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == "loss"
    ]
    assert values == pytest.approx(metric(undisturbed, "loss"), rel=1e-6)


_PARENT = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
Pipeline(load_config(sys.argv[1], sys.argv[2:]), checks=GreatExpectationsChecks()).run_stage("train")
"""


class Run:
    """A training in processes of its own, of which any can be killed."""

    def __init__(self, config: Path, *overrides: str) -> None:
        command = [sys.executable, "-c", _PARENT, str(config), *overrides]
        self.parent = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        self.artifacts = config.parent / "artifacts"
        self.tree: dict[str, psutil.Process] = {}

    @property
    def scratch(self) -> Path | None:
        return next(iter((self.artifacts / "train").glob("*.partial/scratch")), None)

    def steps(self) -> int:
        """Steps of the last whole row."""
        path = None if self.scratch is None else self.scratch / "metrics.jsonl"
        if path is None or not path.exists():
            return 0
        rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return rows[-1]["step"] if rows else 0

    def checkpoints(self, pattern: str) -> list[Path]:
        return [] if self.scratch is None else list((self.scratch / "checkpoints").glob(pattern))

    def wait_for(self, condition: Any, what: str) -> None:
        """Wait for something; the processes are found first, for looking takes longer than steps do."""
        self._until(self._find_all, "all processes")
        self._until(condition, what)

    def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert self.parent.poll() is None, f"it ended before {what}"
            assert time.monotonic() < deadline, f"no {what}"
            time.sleep(0.002)

    def _find_all(self) -> bool:
        parent = psutil.Process(self.parent.pid)
        self.tree = {"parent": parent}
        for process in parent.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                command = " ".join(process.cmdline())
                for name in ("deepspeed.launcher.runner", "deepspeed.launcher.launch"):
                    if name in command:
                        self.tree[name.rpartition(".")[2]] = process
                if "bdpo.training.worker" in command and "deepspeed.launcher" not in command:
                    self.tree["worker"] = process
        return self.tree.keys() == {"parent", "runner", "launch", "worker"}

    def kill(self, who: str) -> None:
        """Kill one of the processes that `wait_for` found, then wait until none is left."""
        self.tree[who].send_signal(signal.SIGKILL)
        self.parent.wait(timeout=60)
        _, alive = psutil.wait_procs(list(self.tree.values()), timeout=60)
        assert not alive, f"{alive} outlived the kill of the {who}"
        assert self.parent.returncode != 0


@pytest.fixture
def run(config: Path) -> Iterator[Any]:
    """Starts runs, and leaves no parent behind."""
    started: list[Run] = []

    def start(*overrides: str) -> Run:
        started.append(Run(config, *overrides))
        return started[-1]

    yield start
    for one in started:
        if one.parent.poll() is None:
            os.kill(one.parent.pid, signal.SIGKILL)
            one.parent.wait()


def test_killed_again_and_again_it_ends_as_if_undisturbed(run: Any, config: Path, undisturbed: StageResult) -> None:
    """The parent killed while a checkpoint is written, then the worker between two of them."""
    first = run()
    first.wait_for(lambda: first.steps() >= 5 and first.checkpoints("*.tmp"), "a checkpoint in the making")
    first.kill("parent")
    second = run()
    second.wait_for(lambda: second.steps() >= 14, "step 14")
    second.kill("worker")
    result = train(config)
    assert 12 <= result.summary["resumed_from_step"] < result.summary["steps"], (
        "it was killed too late to show anything"
    )
    assert same(result, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["runner", "launch", "parent", "worker"])
@pytest.mark.parametrize("step", [1, 10, 21])
def test_whoever_is_killed_whenever(run: Any, config: Path, undisturbed: StageResult, who: str, step: int) -> None:
    once = run()
    once.wait_for(lambda: once.steps() >= step, f"step {step}")
    once.kill(who)
    assert same(train(config), undisturbed)


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


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_train_as_one_does(config: Path, undisturbed: StageResult, stage: int) -> None:
    zero = f"train.deepspeed={ROOT}/configs/deepspeed/zero{stage}.json"
    two = train(config, "train.processes=2", zero)
    for name in ("loss", "eval_loss", "grad_norm", "rewards/margins", "mi_correlation/chosen", "num_tokens"):
        assert metric(two, name) == pytest.approx(metric(undisturbed, name), rel=2e-3, abs=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_in_bfloat16_train_as_one_does(config: Path, stage: int) -> None:
    bfloat16 = ("model.dtype=bfloat16", f"train.deepspeed={ROOT}/configs/deepspeed/zero{stage}.json")
    one, two = train(config, *bfloat16), train(config, *bfloat16, "train.processes=2")
    for name in ("loss", "eval_loss", "rewards/margins"):
        assert metric(two, name) == pytest.approx(metric(one, name), abs=0.02), name
    assert two.summary["last"]["validation"]["eval_loss"] < math.log(2)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_killed_carry_on(run: Any, config: Path, stage: int) -> None:
    """With ZeRO each process saves a part of its own; two processes add up in one order, so bit for bit too."""
    zero = (f"train.deepspeed={ROOT}/configs/deepspeed/zero{stage}.json", "train.processes=2")
    shutil.copytree(config.parent, config.parent.parent / "other")
    expected = train(config.parent.parent / "other" / "config.yaml", *zero)
    once = run(*zero)
    once.wait_for(lambda: once.steps() >= 10, "step 10")
    once.kill("worker")
    assert same(train(config, *zero), expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "robust", "ipo", "hinge", "simpo", "cpo", "safedpo", "bounded_dpo"])
def test_every_method_lowers_its_loss(config: Path, method: str) -> None:
    result = train(config, f"train.method={method}", "train.learning_rate=2e-3")
    losses = metric(result, "loss")
    assert losses[-1] < losses[0]
    assert metric(result, "eval_rewards/accuracies")[-1] > 0.5
    assert f"| method | {method} (arXiv" in (result.artifact / "policy" / "README.md").read_text()


@pytest.mark.slow
def test_early_stopping_gives_the_best_evaluation(config: Path) -> None:
    """At this rate the tiny model overfits soon; the policy is the best evaluation's, as a shorter run ends with it."""
    fast = ("train.learning_rate=2e-2", "train.schedule=constant", "train.warmup_ratio=0", "train.epochs=40")
    often = (*fast, "train.eval_every=2")
    result = train(config, *often, "train.early_stopping.patience=2")
    losses = metric(result, "eval_loss")
    best = losses.index(min(losses))
    assert len(losses) == best + 3, "two evaluations without a new best"
    assert result.summary["policy_of_step"] == 2 * (best + 1) < result.summary["steps"] < 40 * 8
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


@pytest.mark.slow
def test_adapters_are_trained_merged_and_kept(config: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    result = train(config, "train.lora.rank=4", "train.learning_rate=5e-3")
    assert metric(result, "loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert metric(result, "eval_loss")[-1] < math.log(2)
    merged = AutoModelForCausalLM.from_pretrained(result.artifact / "policy")
    base = AutoModelForCausalLM.from_pretrained(config.parent / "model")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        found, start = (model(ids).logits.log_softmax(-1) for model in (merged, base))
        adapter = result.artifact / "adapter"
        beside = peft.AutoPeftModelForCausalLM.from_pretrained(adapter, dtype="float32")(ids).logits.log_softmax(-1)
    assert (found - start).abs().max() > 1e-2
    assert (found - beside).abs().max() < 1e-4
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        config.parent / "model"
    )


QLORA = ("model.dtype=bfloat16", "model.quantization=nf4", "train.lora.rank=4", "train.learning_rate=5e-3")


@pytest.mark.slow
def test_adapters_on_four_bit_weights_are_merged_into_what_was_trained(config: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    result = train(config, *QLORA)
    # The reference is the 4-bit model too, so that every log-ratio begins at 0.
    assert metric(result, "loss")[0] == pytest.approx(math.log(2), abs=1e-3)
    assert metric(result, "eval_loss")[-1] < math.log(2) - 0.01
    policy = result.artifact / "policy"
    assert "quantization_config" not in json.loads((policy / "config.json").read_text())
    assert "merged into the model's nf4 weights" in (policy / "README.md").read_text()
    merged = AutoModelForCausalLM.from_pretrained(policy)
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    full, four_bit = (load_model(config.parent / "model", dtype="bfloat16", quantization=q) for q in (None, "nf4"))
    ids = torch.arange(3, 100)[None]
    with torch.no_grad():
        found, plain, start = (m(ids).logits.float().log_softmax(-1) for m in (merged, full, four_bit))
        trained = peft.PeftModel.from_pretrained(four_bit, result.artifact / "adapter")
        beside = trained(ids).logits.float().log_softmax(-1)
    rounding = (found - beside).abs().mean()
    assert rounding < 0.02
    assert rounding < 0.2 * (start - plain).abs().mean(), "merged into the weights before they were quantised"
    assert rounding < 0.2 * (found - start).abs().mean()


@pytest.mark.slow
def test_four_bit_training_killed_carries_on(run: Any, config: Path) -> None:
    """Checkpoints hold what is trained alone."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    pipeline(config, *QLORA).run_stage("score")
    shutil.copytree(config.parent, config.parent.parent / "other")
    expected = train(config.parent.parent / "other" / "config.yaml", *QLORA)
    once = run(*QLORA)
    once.wait_for(lambda: once.steps() >= 10, "step 10")
    once.kill("worker")
    assert same(train(config, *QLORA), expected)


@pytest.mark.slow
def test_four_bit_weights_are_not_shared_out(config: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    with pytest.raises(UserError, match=r"zero3.json: ZeRO stage 3 cannot share out the weights of model.quantization"):
        train(config, *QLORA, f"train.deepspeed={ROOT}/configs/deepspeed/zero3.json")


def test_adapters_without_peft_are_refused_before_any_work(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bdpo.training.stage.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"train\.lora needs the package peft: `pip install peft`\."):
        train(config, "train.lora.rank=4")
    assert not list((config.parent / "artifacts" / "train").glob("*/scratch/*"))
