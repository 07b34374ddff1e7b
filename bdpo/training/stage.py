"""Stage 3, train: pairs and scores to `policy/`, a Hugging Face model folder, and `metrics.parquet`.

Beside them lie `tensorboard/`, the same metrics as event files, and under LoRA `adapter/`.
"""

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import SCRATCH
from bdpo.balance import method_forms
from bdpo.config import EarlyStoppingSettings, ModelSettings, TrainSettings
from bdpo.config.methods import METHODS
from bdpo.errors import UserError
from bdpo.lifetime import pid_place, start_ticks
from bdpo.logprobs.keys import Scorer
from bdpo.losses import Hyperparameters
from bdpo.models.loading import load_tokenizer
from bdpo.models.source import ModelSource
from bdpo.packages import require_package
from bdpo.progress import Progress
from bdpo.training.checkpoints import drop_damaged, latest_checkpoint
from bdpo.training.deepspeed_config import read_deepspeed_config
from bdpo.training.devices import CPU, have_devices, training_devices
from bdpo.training.event_file import EventFile
from bdpo.training.launch import launch
from bdpo.training.machines import read_hostfile
from bdpo.training.model_card import model_card
from bdpo.training.prepare import count_pairs, prepare
from bdpo.training.schedule import pairs_until
from bdpo.training.score_check import check_scores, find_layout
from bdpo.training.trackers import open_trackers, require_trackers
from bdpo.training.watch import best_step, both_fall
from bdpo.training.worker_files import (
    ADAPTER_FOLDER,
    CHECKPOINTS_FOLDER,
    POLICY_FOLDER,
    PREPARED_FILE,
    VISIBLE_GPUS,
    Job,
)

METRICS = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("epoch", pa.float64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""`metrics.parquet`: after how many steps, on which split, what."""

_JOB_FILE = "job.json"


def train(
    *,
    settings: TrainSettings,
    model: ModelSettings,
    source: ModelSource,
    pairs: Path,
    scores: Path | None,
    workdir: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train a policy with the cached scores, in child processes.

    Args:
        settings: method, optimisation and launch.
        model: truncation, dtype and attention.
        source: the reference model, from which the policy starts.
        pairs: folder with `pairs.parquet`.
        scores: folder with `scored_pairs.parquet`; not read for a method without a reference.
        workdir: gets the results; its `scratch` holds the checkpoints that a restart goes on from.
        progress: where to show what happens.

    Returns:
        Figures: steps, pairs, seconds, pairs_per_s, resumed_from_step, notes, and the last metrics of each split.

    Raises:
        UserError: scores do not fit, settings do not fit, or the training diverged.
    """
    started = time.monotonic()
    scratch = workdir / SCRATCH
    facts = METHODS[settings.method]
    forms = method_forms(settings.method, settings.balance, settings.scale)
    require_trackers(settings.report_to)
    if settings.lora is not None:
        require_package("train.lora", "peft")
    slots = read_hostfile(settings.hostfile, settings.processes) if settings.hostfile is not None else {}
    world = settings.processes * max(len(slots), 1)
    devices = training_devices(settings.processes, alone=settings.hostfile is None)
    deepspeed = read_deepspeed_config(settings.deepspeed, world=world)
    if model.quantization is not None and deepspeed.get("zero_optimization", {}).get("stage", 0) == 3:
        raise UserError(
            f"{settings.deepspeed}: ZeRO stage 3 cannot share out the weights of model.quantization "
            f"{model.quantization}; use stage 0, 1 or 2."
        )
    scored = scores / "scored_pairs.parquet" if facts.needs_reference and scores is not None else None
    assert scored is not None or not facts.needs_reference, "a method with a reference is given its scores"
    left_out, cuts = prepare(
        pairs / "pairs.parquet",
        scored,
        scratch / PREPARED_FILE,
        tokenizer=load_tokenizer(source.folder, trust_remote_code=model.trust_remote_code),
        scorer_digest=Scorer.of(source, model).digest,
        forms=forms,
        mi_floor=settings.mi_floor,
        tau=settings.tau,
        max_length=model.max_length,
        max_prompt_length=model.max_prompt_length,
        needs_safety_labels=facts.needs_safety_labels,
    )
    if settings.hostfile is None:
        on = "the CPU" if devices == [CPU] else f"{len(devices)} of this machine's GPUs"
        progress.say(f"train: on {on}")
    if settings.lora is not None and "learning_rate" not in settings.model_fields_set:
        progress.say(
            f"train: the learning rate is {settings.learning_rate:g}, the default, which is for all weights; adapters "
            "(train.lora) want some ten times as much: 5e-6 to 2e-5 in train.learning_rate"
        )
    if not facts.needs_reference:
        progress.say(f"train: the method {settings.method} has no reference model, so no scores are read")
        said = cuts.shown(max_length=model.max_length, max_prompt_length=model.max_prompt_length)
        if said is not None:  # where there are scores, their stage has said it
            progress.say(f"train: {said}")
    if left_out:
        progress.say(f"train: {left_out} pairs with two unsafe responses are left out, as safedpo asks")
    most_slots = max(slots.values(), default=0)
    if most_slots > settings.processes:
        progress.say(
            f"train: {settings.processes} of up to {most_slots} slots of a machine are used; more if "
            "train.processes is more"
        )
    num_in = count_pairs(scratch / PREPARED_FILE)
    num_pairs = num_in["train"]
    if settings.early_stopping is not None and not num_in["validation"]:
        raise UserError(
            "train.early_stopping watches the validation split, which is empty: raise ingest.validation_fraction, or "
            "take it out."
        )
    total_steps = settings.epochs * math.ceil(num_pairs / settings.batch_size)
    total_steps = min(total_steps, settings.max_steps or total_steps)
    job = _job(settings, model, source, scratch, deepspeed=deepspeed, world=world, total_steps=total_steps)
    dropped = drop_damaged(scratch / CHECKPOINTS_FOLDER, lambda rows: _kept_step(rows, settings))
    if dropped:
        progress.say(f"train: damaged checkpoints deleted: step {', '.join(map(str, dropped))}")
    checkpoint = latest_checkpoint(scratch / CHECKPOINTS_FOLDER, world=world, made_with=job.made_with)
    resumed_from = checkpoint.step if checkpoint is not None else 0

    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    if resumed_from:
        progress.say(f"train: going on from the checkpoint of step {resumed_from}")
    with ExitStack() as stack:
        stack.enter_context(have_devices(devices, work=workdir, say=progress.say))
        if facts.needs_reference:
            layout = check_scores(scratch / PREPARED_FILE, source, model, settings.token_budget, progress.say)
        else:
            layout = find_layout(source, model, progress.say)
        dataclasses.replace(job, layout=layout.value).write(scratch / _JOB_FILE)
        progress.begin("train", total_steps, "steps", done=resumed_from)
        launched = time.monotonic()
        trackers = open_trackers(
            settings.report_to,
            run=f"{settings.method}-{workdir.name[:8]}",
            settings=settings.model_dump(mode="json", exclude={"hostfile", "launcher_args", "deepspeed", "report_to"}),
            folder=workdir.parent.parent,
            say=progress.say,
        )
        watching = [stack.enter_context(sink) for sink in (EventFile(workdir / "tensorboard"), *trackers)]

        def on_row(row: dict[str, Any]) -> None:
            rows.append(row)
            for sink in watching:
                sink.write(row)
            if row["split"] == "train" and row["step"] > resumed_from:
                progress.advance(1, loss=row["loss"], accuracy=row["rewards/accuracies"])
            note = both_fall(rows) if row["split"] == "validation" and facts.needs_reference else None
            if note is not None:
                notes.append(note)
                progress.say(f"train: {note}")

        launch(
            scratch / _JOB_FILE,
            processes=settings.processes,
            hostfile=settings.hostfile,
            launcher_args=settings.launcher_args,
            on_row=on_row,
        )
    training_s = time.monotonic() - launched
    write_parquet(pa.Table.from_pylist(_long(rows), METRICS), workdir / "metrics.parquet")
    last: dict[str, dict[str, Any]] = {
        split: next((r for r in reversed(rows) if r["split"] == split), {}) for split in ("train", "validation")
    }
    figures = {split: {k: v for k, v in row.items() if k not in ("split", "epoch")} for split, row in last.items()}
    steps = last["train"]["step"]
    kept = _kept_step(rows, settings) or steps
    if steps < total_steps:
        progress.say(f"train: stopped early after {steps} of {total_steps} steps; the policy is that of step {kept}")
    card = model_card(settings, forms, source, num_pairs, kept, {r["split"]: r for r in rows if r["step"] == kept})
    _put_results(scratch, workdir, card)
    seen = partial(pairs_until, num_pairs=num_pairs, batch_size=settings.batch_size)
    return {
        "method": settings.method,
        "forms": forms._asdict(),
        "pairs": num_pairs,
        "pairs_left_out": left_out,
        "prompts_cut": cuts.prompts,
        "responses_cut": cuts.responses,
        "processes": world,
        "steps": steps,
        "policy_of_step": kept,
        "resumed_from_step": resumed_from,
        "seconds": round(time.monotonic() - started, 1),
        "pairs_per_s": round((seen(steps) - seen(resumed_from)) / training_s, 2),
        "notes": notes[-1:],
        "last": figures,
    }


def _job(
    settings: TrainSettings,
    model: ModelSettings,
    source: ModelSource,
    scratch: Path,
    *,
    deepspeed: dict[str, Any],
    world: int,
    total_steps: int,
) -> Job:
    facts, stopping = METHODS[settings.method], settings.early_stopping or EarlyStoppingSettings()
    constants = ("beta", *(facts.hyperparameters & {field.name for field in dataclasses.fields(Hyperparameters)}))
    return Job(
        folder=str(scratch),
        parent_place=pid_place(),
        parent_pid=os.getpid(),
        parent_started=start_ticks(os.getpid()),
        visible_gpus=os.environ.get(VISIBLE_GPUS) if settings.hostfile is None else None,
        world=world,
        data=digest_file(scratch / PREPARED_FILE),
        model_name=source.name,
        model_folder=str(source.folder),
        dtype=model.dtype,
        quantization=source.quantization,
        attention=model.attention,
        trust_remote_code=model.trust_remote_code,
        max_length=model.max_length,
        layout=None,
        loss=facts.loss,
        has_reference=facts.needs_reference,
        constants={name: getattr(settings, name) for name in sorted(constants)},
        peak_learning_rate=settings.learning_rate,
        total_steps=total_steps,
        warmup_steps=math.ceil(settings.warmup_ratio * total_steps),
        schedule=settings.schedule,
        batch_size=settings.batch_size,
        token_budget=settings.token_budget,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        deterministic=settings.deterministic,
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        keep_checkpoints=settings.keep_checkpoints,
        best_metric=stopping.metric,
        patience=stopping.patience if settings.early_stopping is not None else None,
        gradient_checkpointing=settings.gradient_checkpointing,
        lora=settings.lora.model_dump() if settings.lora is not None else None,
        deepspeed=deepspeed,
    )


def _kept_step(rows: Sequence[dict[str, Any]], settings: TrainSettings) -> int | None:
    """The step whose weights the policy has: with early stopping the best evaluation's, else the last."""
    return None if settings.early_stopping is None else best_step(rows, settings.early_stopping.metric)


def _long(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"step": row["step"], "epoch": row["epoch"], "split": row["split"], "metric": metric, "value": float(value)}
        for row in rows
        for metric, value in row.items()
        if metric not in ("step", "epoch", "split")
    ]


def _put_results(scratch: Path, workdir: Path, card: str) -> None:
    """Move the model folders out of the scratch folder, adapters first: the policy in place means all is."""
    for name in (ADAPTER_FOLDER, POLICY_FOLDER):
        if (scratch / name).is_dir():
            if name == POLICY_FOLDER:
                (scratch / name / "README.md").write_text(card, encoding="utf-8")
            shutil.rmtree(workdir / name, ignore_errors=True)
            (scratch / name).rename(workdir / name)
