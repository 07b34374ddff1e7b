"""The training loop, one process of it, started by the DeepSpeed launcher.

    python -m bdpo.training.worker JOB.json

Everything it needs is in the job file; everything it makes goes into the job's
folder.  Rank 0 writes a line to `metrics.jsonl` after every step.
"""

import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from bdpo.artifacts.disk import explain_disk_error
from bdpo.artifacts.store import note_progress, write_atomically
from bdpo.errors import UserError
from bdpo.layout.rows import Layout, collate
from bdpo.logprobs.proof import choose_layout
from bdpo.losses import preference_loss
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.training.checkpoints import STATE, begin_checkpoint, finish_checkpoint, latest_checkpoint
from bdpo.training.deepspeed_config import read_deepspeed_config
from bdpo.training.engine import Engine, barrier, rank_and_world
from bdpo.training.lifetime import die_with
from bdpo.training.prepare import Prepared, read_split
from bdpo.training.schedule import learning_rate, micro_batches, step_indices
from bdpo.training.worker_files import (
    CHECKPOINTS_FOLDER,
    ERROR_FILE,
    METRICS_FILE,
    POLICY_FOLDER,
    PREPARED_FILE,
    Job,
)

_STEP0_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}
"""Largest |log-ratio| a token before the first update, in nats: the bounds of the layout proof."""
_SUMS = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
_LOGPS = ("logps/chosen", "logps/rejected", "weights/chosen", "weights/rejected")


class _Trainer:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = Path(job.folder)
        self.rank, self.world = rank_and_world()
        self.train = read_split(self.folder / PREPARED_FILE, "train")
        self.validation = read_split(self.folder / PREPARED_FILE, "validation")
        self.steps_per_epoch = math.ceil(len(self.train.rows) / job.batch_size)
        model = load_model(
            Path(job.model_folder),
            dtype=job.dtype,
            attention=job.attention,
            trust_remote_code=job.trust_remote_code,
        )
        self.layout: Layout = choose_layout(model, print_line, max_length=job.max_length)
        self.engine = Engine(
            model,
            dtype=job.dtype,
            weight_decay=job.weight_decay,
            max_grad_norm=job.max_grad_norm,
            deepspeed_config=read_deepspeed_config(Path(job.deepspeed) if job.deepspeed else None),
        )
        self.metrics: list[dict[str, Any]] = []
        self.step = 0

    def run(self) -> None:
        """Train from the newest checkpoint, or from the beginning, to the end."""
        checkpoint = latest_checkpoint(self.folder / CHECKPOINTS_FOLDER, world=self.world)
        if checkpoint is not None:
            self.engine.load(checkpoint.folder, STATE)
            self.step, self.metrics = checkpoint.step, checkpoint.metrics
        if self.rank == 0:
            lines = (json.dumps(row) + "\n" for row in self.metrics)
            write_atomically(self.folder / METRICS_FILE, "".join(lines))
        while self.step < self.job.total_steps:
            self._train_step()
            last = self.step == self.job.total_steps
            if self.validation.rows and (last or self.step % self.job.eval_every == 0):
                self._record("validation", self._evaluate())
            if last or self.step % self.job.checkpoint_every == 0:
                self._save_checkpoint()
        self._save_policy()

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
        norm = self.engine.step(rate)
        if not math.isfinite(norm):
            self._stop(f"the gradient's norm is {norm} at step {self.step + 1}", indices)
        self.step += 1
        num_tokens = sum(len(r.prompt_ids) + sum(map(len, r.responses)) for r in (self.train.rows[i] for i in indices))
        self._record("train", figures | {"grad_norm": norm, "learning_rate": rate, "num_tokens": num_tokens})

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        return self._pass_over(self.validation, list(range(len(self.validation.rows))), learn=False)

    def _pass_over(self, data: Prepared, indices: list[int], *, learn: bool) -> dict[str, float]:
        """Means over pairs, of all processes; with `learn`, their gradient is accumulated."""
        sums = dict.fromkeys((*_SUMS, *_LOGPS), 0.0)
        passes = micro_batches(
            indices,
            data.rows,
            rank=self.rank,
            world=self.world,
            token_budget=self.job.token_budget,
            layout=self.layout,
        )
        for number, (chosen, counts) in enumerate(passes):
            logps = self.engine.logps(collate([data.rows[i] for i in chosen], self.layout)).view(-1, 2)
            ref, weights = data.ref_logps[chosen].to(logps.device), data.weights[chosen].to(logps.device)
            if learn and self.step == 0:
                self._check_start(data, chosen, logps.detach() - ref)
            loss = preference_loss(
                logps[:, 0],
                logps[:, 1],
                ref[:, 0],
                ref[:, 1],
                beta=self.job.beta,
                weight_chosen=weights[:, 0],
                weight_rejected=weights[:, 1],
            )
            if not loss.losses.isfinite().all():
                self._stop(f"the loss is not finite at step {self.step + 1}", chosen, data)
            if learn:
                # The processes' gradients are averaged: times `world` makes the mean one over the whole batch.
                scale = self.world / len(indices) if counts else 0.0
                self.engine.accumulate(loss.losses.sum() * scale, last=number == len(passes) - 1)
            if counts:
                margins = loss.chosen_rewards - loss.rejected_rewards
                values = (loss.losses, loss.chosen_rewards, loss.rejected_rewards, margins, (margins > 0).float())
                for name, value in zip(_SUMS, values, strict=True):
                    sums[name] += value.detach().sum().item()
                for name, value in zip(_LOGPS, (*logps.detach().unbind(1), *weights.unbind(1)), strict=True):
                    sums[name] += value.sum().item()
        totals = self.engine.sum_over_processes(list(sums.values()))
        return {name: total / len(indices) for name, total in zip(sums, totals, strict=True)}

    def _check_start(self, data: Prepared, indices: list[int], log_ratios: torch.Tensor) -> None:
        """Before the first update the policy is the reference: every log-ratio is 0 within rounding."""
        lengths = torch.tensor([[len(side) for side in data.rows[i].responses] for i in indices])
        worst = (log_ratios.cpu() / lengths).abs().amax(dim=1)
        tolerance = _STEP0_TOLERANCE[self.job.dtype]
        if not (worst <= tolerance).all():
            place = int(worst.argmax())
            raise UserError(
                f"Before the first step the log-ratio of the pair {data.pair_ids[indices[place]]} is "
                f"{float(worst[place]):.2g} nats a token where 0 within {tolerance:g} is expected: the cached scores "
                "are not this model's; run `--force score`."
            )

    def _stop(self, what: str, indices: list[int], data: Prepared | None = None) -> None:
        names = ", ".join((data or self.train).pair_ids[i] for i in indices[:3])
        raise UserError(
            f"Training stopped: {what}, in a batch with the pairs {names}; the last checkpoint is kept: lower "
            "train.learning_rate, or look at these pairs."
        )

    def _record(self, split: str, figures: dict[str, float]) -> None:
        row = {"step": self.step, "epoch": self.step / self.steps_per_epoch, "split": split, **figures}
        self.metrics.append(row)
        if self.rank == 0:
            with (self.folder / METRICS_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _save_checkpoint(self) -> None:
        root = self.folder / CHECKPOINTS_FOLDER
        if self.rank == 0:
            begin_checkpoint(root, self.step)
        barrier()
        self.engine.save(root / f"step-{self.step:08d}.tmp", STATE)
        barrier()
        if self.rank == 0:
            keep = self.job.keep_checkpoints
            finish_checkpoint(root, self.step, world=self.world, metrics=self.metrics, keep=keep)
            note_progress(self.folder.parent, self.step, self.job.total_steps, "steps")
        barrier()

    def _save_policy(self) -> None:
        state = self.engine.gather_state()
        if self.rank == 0:
            folder = self.folder / POLICY_FOLDER
            shutil.rmtree(folder, ignore_errors=True)
            self.engine.model.save_pretrained(folder, state_dict=state)
            load_tokenizer(Path(self.job.model_folder), trust_remote_code=self.job.trust_remote_code).save_pretrained(
                folder
            )
        barrier()


def print_line(line: str) -> None:
    """A line for the log of this process."""
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Run the job that the command line names."""
    job = Job.read(Path(sys.argv[-1]))
    die_with(job.parent_pid, job.parent_started)
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // rank_and_world()[1], 1))
    try:
        _Trainer(job).run()
    except Exception as error:
        explained = error if isinstance(error, UserError) else explain_disk_error(error, Path(job.folder))
        if explained is not None:
            write_atomically(Path(job.folder) / ERROR_FILE, str(explained))
        raise


if __name__ == "__main__":
    main()
