"""The training loop, in one of the processes that share it."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch

from bdpo.artifacts.store import note_progress, write_atomically
from bdpo.errors import UserError
from bdpo.layout.rows import Layout, collate
from bdpo.logprobs.proof import TRIAL_TOLERANCE, moved_by, take_layout
from bdpo.losses import Hyperparameters, PairTerms, PreferenceLoss, preference_loss
from bdpo.models.allocator import kept_memory, trim_memory
from bdpo.models.loading import load_model
from bdpo.training.checkpoints import (
    STATE,
    begin_checkpoint,
    checkpoint_of,
    finish_checkpoint,
    latest_checkpoint,
)
from bdpo.training.engine import Engine, barrier, join_processes, rank_and_world
from bdpo.training.figures import Figures, means
from bdpo.training.policy import (
    add_adapters,
    checkpoint_activations,
    describe_adapters,
    first_not_finite,
    save_adapters,
    save_policy,
)
from bdpo.training.prepare import Prepared, read_split
from bdpo.training.schedule import learning_rate, micro_batches, step_indices
from bdpo.training.watch import best_step, gaps, has_vanished, patience_is_over
from bdpo.training.worker_files import (
    ADAPTER_FOLDER,
    CHECKPOINTS_FOLDER,
    DONE_FILE,
    METRICS_FILE,
    POLICY_FOLDER,
    PREPARED_FILE,
    Job,
)


class Trainer:
    """What one process does of a job; rank 0 writes a line to `metrics.jsonl` after every step."""

    def __init__(self, job: Job) -> None:
        """Join the other processes, and load data and model."""
        join_processes()
        self.job = job
        self.folder = Path(job.folder)
        self.checkpoints = self.folder / CHECKPOINTS_FOLDER
        self.rank, self.world = rank_and_world()
        if self.world != job.world:
            raise UserError(
                f"DeepSpeed started {self.world} processes, and train.processes and train.hostfile make {job.world}: "
                "choose machines and processes there, and not by train.launcher_args."
            )
        self.train = read_split(self.folder / PREPARED_FILE, "train")
        self.validation = read_split(self.folder / PREPARED_FILE, "validation")
        self.steps_per_epoch = math.ceil(len(self.train.rows) / job.batch_size)
        self.constants = Hyperparameters(**job.constants)
        model = load_model(
            Path(job.model_folder),
            dtype=job.dtype,
            attention=job.attention,
            trust_remote_code=job.trust_remote_code,
            quantization=job.quantization,
        )
        self.layout = Layout(job.layout)
        take_layout(model, self.layout)
        self.adapted = add_adapters(model, **job.lora, seed=job.seed) if job.lora is not None else None
        if self.adapted is not None and self.rank == 0:
            sys.stderr.write(f"{describe_adapters(model)}\n")
        if job.gradient_checkpointing:
            checkpoint_activations(model)
        self.engine = Engine(
            model,
            dtype=job.dtype,
            weight_decay=job.weight_decay,
            max_grad_norm=job.max_grad_norm,
            deepspeed_config=job.deepspeed,
        )
        self.metrics: list[dict[str, Any]] = []
        self.step = 0

    def run(self) -> None:
        """Train from the newest checkpoint, or from the beginning, to the end."""
        checkpoint = latest_checkpoint(self.checkpoints, world=self.world, made_with=self.job.made_with)
        if checkpoint is not None:
            self.engine.load(checkpoint.folder, STATE)
            self.step, self.metrics = checkpoint.step, checkpoint.metrics
        if self.rank == 0:
            lines = (json.dumps(row) + "\n" for row in self.metrics)
            write_atomically(self.folder / METRICS_FILE, "".join(lines))
        with kept_memory():
            while not self._is_over():
                self._train_step()
                new_best = False
                if self.validation.rows and (self._is_last() or self.step % self.job.eval_every == 0):
                    self._evaluate()
                    new_best = self._best_step() == self.step
                if new_best or self._is_over() or self.step % self.job.checkpoint_every == 0:
                    self._save_checkpoint()
        self._save_policy()

    def _is_last(self) -> bool:
        return self.step == self.job.total_steps

    def _is_over(self) -> bool:
        patience = self.job.patience
        return self._is_last() or (
            patience is not None and patience_is_over(self.metrics, self.job.best_metric, patience)
        )

    def _best_step(self) -> int | None:
        """Whose weights the policy is to have: the best evaluation's; None without early stopping, or before one."""
        return None if self.job.patience is None else best_step(self.metrics, self.job.best_metric)

    def _train_step(self) -> None:
        job = self.job
        indices = step_indices(self.step, num_pairs=len(self.train.rows), batch_size=job.batch_size, seed=job.seed)
        rate = learning_rate(
            self.step,
            peak=job.peak_learning_rate,
            total=job.total_steps,
            warmup=job.warmup_steps,
            schedule=job.schedule,
        )
        figures = self._pass_over(self.train, indices, learn=True)
        if not math.isfinite(figures["loss"]):
            self._stop(f"the loss is {figures['loss']} at step {self.step + 1}", indices)
        norm = self.engine.step(rate)
        if not math.isfinite(norm):
            self._stop(f"the gradient's norm is {norm} at step {self.step + 1}", indices)
        if has_vanished(norm, figures["loss"]):
            self._stop(f"the gradient has vanished (norm {norm:.2g}) at step {self.step + 1}", indices, moved=True)
        self.step += 1
        before = next((row["num_tokens"] for row in reversed(self.metrics) if row["split"] == "train"), 0)
        rows = [self.train.rows[i] for i in indices]
        num_tokens = before + sum(len(row.prompt_ids) + sum(map(len, row.responses)) for row in rows)
        self._record("train", figures | {"grad_norm": norm, "learning_rate": rate, "num_tokens": num_tokens})

    @torch.no_grad()
    def _evaluate(self) -> None:
        figures = self._pass_over(self.validation, list(range(len(self.validation.rows))), learn=False)
        evaluated = {f"eval_{name}": value for name, value in figures.items()}
        if not math.isfinite(figures["loss"]):
            self._stop(f"the validation loss is {figures['loss']} at step {self.step}", [], moved=True)
        self._record("validation", evaluated | gaps(self.metrics, evaluated))

    def _pass_over(self, data: Prepared, indices: list[int], *, learn: bool) -> dict[str, float]:
        """Means over pairs, of all processes; with `learn`, their gradient is accumulated."""
        sums = Figures()
        passes = micro_batches(
            indices,
            data.rows,
            rank=self.rank,
            world=self.world,
            token_budget=self.job.token_budget,
            layout=self.layout,
        )
        for number, (chosen, rows, counts) in enumerate(passes):
            logps = self.engine.logps(collate(rows, self.layout)).view(-1, 2)
            if learn and self.step == 0 and self.job.has_reference:
                self._check_start(data, chosen, logps.detach().cpu() - data.ref_logps[chosen])
            loss = self._loss(data, chosen, logps)
            if learn:
                # The processes' gradients are averaged: times `world` makes the mean one over the whole batch.
                scale = self.world / len(indices) if counts else 0.0
                self.engine.accumulate(loss.losses.sum() * scale, last=number == len(passes) - 1)
            if counts:
                device = logps.device
                sums.add(loss, logps, data.weights[chosen].to(device), data.mi[chosen].to(device))
        return means(self.engine.sum_over_processes(sums.sums), len(indices))

    def _loss(self, data: Prepared, chosen: list[int], logps: torch.Tensor) -> PreferenceLoss:
        lengths = torch.tensor([[len(side) for side in data.rows[i].responses] for i in chosen])
        columns = (
            *data.ref_logps[chosen].unbind(1),
            *lengths.to(logps.dtype).unbind(1),
            *data.weights[chosen].unbind(1),
            data.unsafe_difference[chosen],
        )
        terms = PairTerms(*logps.unbind(1), *(column.to(logps.device) for column in columns))
        return preference_loss(self.job.loss, terms, self.constants)

    def _check_start(self, data: Prepared, indices: list[int], log_ratios: torch.Tensor) -> None:
        """Before the first update the policy is the reference: every log-ratio is 0 within rounding."""
        lengths = torch.tensor([[len(side) for side in data.rows[i].responses] for i in indices])
        worst = moved_by(log_ratios, lengths).amax(dim=1)
        tolerance = TRIAL_TOLERANCE[getattr(torch, self.job.dtype)]
        if not (worst <= tolerance).all():
            place = int(worst.argmax())
            raise UserError(
                f"Before the first step the log-ratio of the pair {data.pair_ids[indices[place]]} is "
                f"{float(worst[place]):.2g} nats a token where 0 within {tolerance:g} is expected: the cached scores "
                "are not this model's; run `--force score`."
            )

    def _stop(self, what: str, indices: list[int], *, moved: bool = False) -> None:
        """Say what went wrong, and save the state before it; every process comes here.

        Args:
            what: went wrong.
            indices: the training pairs of the step, none after an evaluation.
            moved: the weights are no longer those before it.  They are not saved then, or the next run would go on
                from them as from any checkpoint, and not meet again what stopped this one.
        """
        saved = ""
        if not moved:
            if checkpoint_of(self.checkpoints, self.step, world=self.world, made_with=self.job.made_with) is None:
                self._save_checkpoint()
            saved = "; the state before it is saved"
        names = ", ".join(self.train.pair_ids[i] for i in indices[:3])
        batch = f", in a batch with the pairs {names}" if names else ""
        look = ", or look at these pairs" if names else ""
        raise UserError(f"Training stopped: {what}{batch}{saved}: lower train.learning_rate{look}.")

    def _record(self, split: str, figures: dict[str, float]) -> None:
        row = {"step": self.step, "epoch": self.step / self.steps_per_epoch, "split": split, **figures}
        self.metrics.append(row)
        if self.rank == 0:
            with (self.folder / METRICS_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _save_checkpoint(self) -> None:
        root = self.checkpoints
        if self.rank == 0:
            begin_checkpoint(root, self.step)
        barrier()
        trim_memory()
        self.engine.save(root / f"step-{self.step:08d}.tmp", STATE)
        trim_memory()
        barrier()
        if self.rank == 0:
            finish_checkpoint(
                root,
                self.step,
                world=self.world,
                made_with=self.job.made_with,
                metrics=self.metrics,
                keep=self.job.keep_checkpoints,
                best=self._best_step(),
            )
            note_progress(self.folder.parent, self.step, self.job.total_steps, "steps")
        barrier()

    def _save_policy(self) -> None:
        job = self.job
        best = self._best_step()
        if best is not None and best != self.step:
            checkpoint = checkpoint_of(self.checkpoints, best, world=self.world, made_with=job.made_with)
            assert checkpoint is not None, "the best evaluation's checkpoint is always kept"
            self.engine.load(checkpoint.folder, STATE)
        state = self.engine.gather_state(without_frozen=self.adapted is not None)
        broken = first_not_finite(state)
        if broken is not None:
            # Of the last update nothing else has been seen where no validation follows it.
            self._stop(f"`{broken}` of the trained weights is not finite after step {self.step}", [], moved=True)
        if self.rank == 0:
            base, policy = Path(job.model_folder), self.folder / POLICY_FOLDER
            if self.adapted is None:
                save_policy(policy, self.engine.model, state, base=base, trust_remote_code=job.trust_remote_code)
            else:
                save_adapters(
                    self.folder / ADAPTER_FOLDER,
                    policy,
                    self.adapted,
                    {f"base_model.model.{name}": value for name, value in state.items()},
                    base=base,
                    base_name=job.model_name,
                    dtype=job.dtype,
                    quantization=job.quantization,
                    attention=job.attention,
                    trust_remote_code=job.trust_remote_code,
                )
            write_atomically(self.folder / DONE_FILE, "")
        barrier()
