"""Stage 3, train: pairs and scores to `policy/`, a Hugging Face model folder, and `metrics.parquet`."""

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import torch

from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import SCRATCH
from bdpo.balance import method_forms
from bdpo.config import ModelSettings, TrainSettings
from bdpo.errors import UserError
from bdpo.logprobs.keys import Scorer
from bdpo.logprobs.proof import choose_layout
from bdpo.logprobs.score import score_rows
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.models.source import ModelSource
from bdpo.progress import Progress
from bdpo.training.checkpoints import latest_checkpoint
from bdpo.training.deepspeed_config import read_deepspeed_config
from bdpo.training.launch import launch
from bdpo.training.model_card import model_card
from bdpo.training.prepare import prepare, read_split
from bdpo.training.worker_files import CHECKPOINTS_FOLDER, POLICY_FOLDER, PREPARED_FILE, Job
from bdpo.versions import STAGES

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

VERSION = STAGES["train"]
_SAMPLE_PAIRS = 8
_SAMPLE_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}
"""Largest difference of a recomputed score, in nats a token: what another batch may change by rounding."""


def train(
    *,
    settings: TrainSettings,
    model: ModelSettings,
    source: ModelSource,
    pairs: Path,
    scores: Path,
    workdir: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train a policy with the cached scores, in child processes.

    Args:
        settings: method, optimisation and launch.
        model: truncation, dtype and attention.
        source: the reference model, from which the policy starts.
        pairs: folder with `pairs.parquet`.
        scores: folder with `scored_pairs.parquet`.
        workdir: gets the results; its `scratch` holds the checkpoints that a restart goes on from.
        progress: where to show what happens.

    Returns:
        Figures: steps, pairs, seconds, pairs_per_s, resumed_from_step, and the last metrics of each split.

    Raises:
        UserError: scores do not fit, settings do not fit, or the training diverged.
    """
    started = time.monotonic()
    scratch = workdir / SCRATCH
    read_deepspeed_config(settings.deepspeed)  # before any work, for its errors
    checkpoint = latest_checkpoint(scratch / CHECKPOINTS_FOLDER, world=settings.processes)
    resumed_from = checkpoint.step if checkpoint is not None else 0
    forms = method_forms(settings.method, settings.balance, settings.scale)
    prepare(
        pairs / "pairs.parquet",
        scores / "scored_pairs.parquet",
        scratch / PREPARED_FILE,
        tokenizer=load_tokenizer(source.folder, trust_remote_code=model.trust_remote_code),
        scorer_digest=Scorer(source.weights_digest, model.dtype, model.attention).digest,
        forms=forms,
        mi_floor=settings.mi_floor,
        tau=settings.tau,
        max_length=model.max_length,
        max_prompt_length=model.max_prompt_length,
    )
    num_pairs = len(read_split(scratch / PREPARED_FILE, "train").rows)
    total_steps = settings.epochs * math.ceil(num_pairs / settings.batch_size)
    total_steps = min(total_steps, settings.max_steps or total_steps)
    _check_scores(scratch / PREPARED_FILE, source, model, settings.token_budget)

    job = scratch / "job.json"
    Job(
        folder=str(scratch),
        parent_pid=os.getpid(),
        parent_started=psutil.Process().create_time(),
        model_folder=str(source.folder),
        dtype=model.dtype,
        attention=model.attention,
        trust_remote_code=model.trust_remote_code,
        max_length=model.max_length,
        beta=settings.beta,
        peak_learning_rate=settings.learning_rate,
        total_steps=total_steps,
        warmup_steps=math.ceil(settings.warmup_ratio * total_steps),
        schedule=settings.schedule,
        batch_size=settings.batch_size,
        token_budget=settings.token_budget,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        keep_checkpoints=settings.keep_checkpoints,
        deepspeed=str(settings.deepspeed) if settings.deepspeed else None,
    ).write(job)

    rows: list[dict[str, Any]] = []
    if resumed_from:
        progress.say(f"train: going on from the checkpoint of step {resumed_from}")
    progress.begin("train", total_steps, "steps", done=resumed_from)

    def on_row(row: dict[str, Any]) -> None:
        rows.append(row)
        if row["split"] == "train" and row["step"] > resumed_from:
            progress.advance(1, loss=row["loss"], accuracy=row["rewards/accuracies"])

    launched = time.monotonic()
    launch(job, processes=settings.processes, on_row=on_row)
    training_s = time.monotonic() - launched
    write_parquet(pa.Table.from_pylist(_long(rows), METRICS), workdir / "metrics.parquet")
    last: dict[str, dict[str, Any]] = {
        split: next((r for r in reversed(rows) if r["split"] == split), {}) for split in ("train", "validation")
    }
    figures = {split: {k: v for k, v in row.items() if k not in ("split", "epoch")} for split, row in last.items()}
    _put_policy(scratch / POLICY_FOLDER, workdir, model_card(settings, forms, source.name, num_pairs, figures))
    new_steps = total_steps - resumed_from
    return {
        "method": settings.method,
        "forms": forms._asdict(),
        "pairs": num_pairs,
        "steps": total_steps,
        "resumed_from_step": resumed_from,
        "seconds": round(time.monotonic() - started, 1),
        "pairs_per_s": round(new_steps * settings.batch_size / training_s, 2),
        "last": figures,
    }


def _check_scores(prepared: Path, source: ModelSource, model: ModelSettings, token_budget: int) -> None:
    """Recompute a sample of cached scores with the reference model, loaded from its own folder."""
    data = read_split(prepared, "train")
    spread = torch.linspace(0, len(data.rows) - 1, min(_SAMPLE_PAIRS, len(data.rows))).long().tolist()
    reference = load_model(
        source.folder, dtype=model.dtype, attention=model.attention, trust_remote_code=model.trust_remote_code
    )
    layout = choose_layout(reference, lambda line: None, max_length=model.max_length)
    sample = [data.rows[i] for i in spread]
    for scored in score_rows(reference, sample, token_budget=token_budget, layout=layout):
        for place, logps in zip(scored.indices, scored.logps, strict=True):
            cached = data.ref_logps[spread[place]].tolist()
            for side, found, expected in zip(("chosen", "rejected"), logps, cached, strict=True):
                now = float(found.astype("float64").sum())
                if abs(now - expected) / len(found) > _SAMPLE_TOLERANCE[model.dtype]:
                    raise UserError(
                        f"The cached log-prob of the {side} response of pair {data.pair_ids[spread[place]]} is "
                        f"{expected:.4f} and the reference model now gives {now:.4f}: the scores are not this "
                        "model's; run `--force score`."
                    )


def _long(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"step": row["step"], "epoch": row["epoch"], "split": row["split"], "metric": metric, "value": float(value)}
        for row in rows
        for metric, value in row.items()
        if metric not in ("step", "epoch", "split")
    ]


def _put_policy(folder: Path, workdir: Path, card: str) -> None:
    (folder / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(workdir / POLICY_FOLDER, ignore_errors=True)
    folder.rename(workdir / POLICY_FOLDER)
