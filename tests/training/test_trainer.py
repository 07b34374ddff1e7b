"""What a step's passes add up to, beside plain forwards and the formula of each method."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from bdpo.config import ModelSettings, TrainSettings
from bdpo.config.methods import METHODS, Method
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs.forward import response_logps, sum_logps
from bdpo.logprobs.proof import take_layout
from bdpo.losses import Hyperparameters
from bdpo.models.source import ModelSource
from bdpo.training.prepare import Prepared
from bdpo.training.stage import _job
from bdpo.training.trainer import Trainer
from bdpo.training.worker_files import PREPARED_FILE, Job
from tests.tiny import tiny_model


def job_of(folder: Path, **settings: object) -> Job:
    """What a training with these settings is told; a step may have more pairs than the tests' one has."""
    (folder / PREPARED_FILE).write_bytes(b"rows")
    return _job(
        TrainSettings.model_validate({"batch_size": 5, **settings}),
        ModelSettings(path="tiny", dtype="float32"),
        ModelSource("tiny", folder, "a" * 64, "b" * 64),
        folder,
        deepspeed={},
        world=1,
        total_steps=9,
    )


OWN = {
    "label_smoothing": 0.1,
    "gamma": 0.3,
    "nll_weight": 0.4,
    "safety_margin": 2.0,
    "policy_share": 0.75,
}
"""A value for each constant but `beta`, none of them its default."""


def own(method: Method) -> dict[str, object]:
    return {name: value for name, value in OWN.items() if name in METHODS[method].hyperparameters}


@pytest.mark.parametrize(
    ("method", "loss", "constants"),
    [
        ("dpo", "sigmoid", {"beta": 0.1, "label_smoothing": 0.1}),
        ("dpo_bw", "sigmoid", {"beta": 0.1, "label_smoothing": 0.1}),
        ("dpo_sf", "sigmoid", {"beta": 0.1, "label_smoothing": 0.1}),
        ("bdpo", "sigmoid", {"beta": 0.1, "label_smoothing": 0.1}),
        ("robust", "robust", {"beta": 0.1, "label_smoothing": 0.1}),
        ("ipo", "ipo", {"beta": 0.1}),
        ("hinge", "hinge", {"beta": 0.1}),
        ("simpo", "simpo", {"beta": 2.0, "label_smoothing": 0.1, "gamma": 0.3}),
        ("cpo", "cpo", {"beta": 0.1, "label_smoothing": 0.1, "nll_weight": 0.4}),
        ("safedpo", "safedpo", {"beta": 0.1, "safety_margin": 2.0}),
        ("bounded_dpo", "bounded", {"beta": 0.1, "policy_share": 0.75}),
    ],
)
def test_a_worker_is_told_the_loss_and_all_its_constants(
    tmp_path: Path, method: Method, loss: str, constants: dict[str, float]
) -> None:
    job = job_of(tmp_path, method=method, **own(method))
    assert (job.loss, job.constants) == (loss, constants)
    assert job.has_reference is (method not in ("simpo", "cpo"))
    assert job_of(tmp_path, method=method, beta=0.7, **own(method)).constants == constants | {"beta": 0.7}


class Pair(NamedTuple):
    """One pair's numbers, chosen and rejected; of the policy's log-probs (2,) a gradient is asked."""

    logps: Tensor
    refs: Tensor
    lengths: tuple[int, int]
    weights: tuple[float, float]
    unsafe: float

    def u(self) -> Tensor:
        """The argument of the sigmoid in plain DPO, at a beta of 0.1."""
        delta = self.logps - self.refs
        return 0.1 * (delta[0] - delta[1])

    def weighted(self) -> Tensor:
        """The same of B-DPO."""
        delta = self.logps - self.refs
        return 0.1 * (self.weights[0] * delta[0] - self.weights[1] * delta[1])

    def by_the_token(self) -> Tensor:
        """Chosen less rejected log-ratio, each a token."""
        delta = self.logps - self.refs
        return delta[0] / self.lengths[0] - delta[1] / self.lengths[1]


def smoothed(u: Tensor) -> Tensor:
    return 0.9 * softplus(-u) + 0.1 * softplus(u)


def bounded(pair: Pair) -> Tensor:
    chosen, rejected = pair.logps - pair.refs
    return softplus(-0.1 * (chosen - (0.75 * rejected.exp() + 0.25).log()))


FORMULAS: dict[Method, Callable[[Pair], Tensor]] = {
    "bdpo": lambda pair: smoothed(pair.weighted()),
    "robust": lambda pair: (0.9 * softplus(-pair.u()) - 0.1 * softplus(pair.u())) / 0.8,
    "ipo": lambda pair: (pair.by_the_token() - 5) ** 2,
    "hinge": lambda pair: torch.relu(1 - pair.u()),
    "simpo": lambda pair: smoothed(2 * pair.by_the_token() - 0.3),
    "cpo": lambda pair: smoothed(pair.u()) - 0.4 * pair.logps[0] / pair.lengths[0],
    "safedpo": lambda pair: softplus(-(pair.u() - 2 * pair.unsafe)),
    "bounded_dpo": bounded,
}
"""With `OWN`; of the methods that weight, which share a loss, one."""


def ids(num: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(259, (num,), generator=torch.Generator().manual_seed(seed)).tolist())


def plain_logps(model: Any, row: Row) -> Tensor:
    """(2,) sums of one response after the other, each by a forward of its own."""
    sums = []
    for response in row.responses:
        logits = model(input_ids=torch.tensor([row.prompt_ids + response])).logits[0, len(row.prompt_ids) - 1 : -1]
        sums.append(logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).sum())
    return torch.stack(sums)


def gradients(model: nn.Module, share: float = 1) -> dict[str, Tensor]:
    """What was accumulated, which is forgotten."""
    found = {name: share * p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize(("method", "world"), [*((method, 1) for method in FORMULAS), ("bdpo", 2)])
def test_a_step_is_the_mean_over_its_pairs_of_the_methods_own_loss(tmp_path: Path, method: Method, world: int) -> None:
    """Pairs 2, 0 and 1 of four, the first two of which share a prompt, in two passes a process.

    Of two processes, which average their gradients, one has a single pair, and a pass that does not count.
    """
    model = tiny_model()
    take_layout(model, Layout.PACKED)
    rows = [
        Row(ids(6, 0), (ids(3, 1), ids(7, 2))),
        Row(ids(6, 0), (ids(5, 3), ids(2, 4))),
        Row(ids(9, 5), (ids(1, 6), ids(4, 7))),
        Row(ids(4, 8), (ids(2, 9), ids(3, 10))),
    ]
    has_reference = method not in ("simpo", "cpo")
    moved = torch.tensor([[1.5, -2.0], [-0.5, 0.7], [3.0, 1.0], [8.0, 8.0]])
    with torch.no_grad():
        refs = has_reference * (torch.stack([plain_logps(model, row) for row in rows]) - moved)
    weights = torch.tensor([[0.4, 1.6], [1.2, 0.8], [1.0, 1.0], [3.0, 3.0]])
    unsafe = torch.tensor([1.0, 0.0, 1.0, 0.0])
    data = Prepared(list("abcd"), rows, refs, torch.full((4, 2), torch.nan), weights, unsafe)

    job = job_of(tmp_path, method=method, token_budget=30 // world, **own(method))
    told: list[list[float]] = []

    def summed(sums: list[float]) -> list[float]:
        told.append(sums)
        return [sum(column) for column in zip(*told, strict=True)]

    marked: list[bool] = []

    def accumulate(loss: Tensor, *, last: bool) -> None:
        torch.autograd.backward(loss)
        marked.append(last)

    for rank in range(world):
        trainer: Any = object.__new__(Trainer)
        trainer.job, trainer.rank, trainer.world, trainer.step = job, rank, world, 1
        trainer.layout, trainer.constants = Layout.PACKED, Hyperparameters(**job.constants)
        trainer.engine = SimpleNamespace(
            logps=lambda batch: sum_logps(response_logps(model, batch), batch.response_lengths),
            accumulate=accumulate,
            sum_over_processes=summed,
        )
        figures = trainer._pass_over(data, [2, 0, 1], learn=True)
    assert marked == [False, True] * world, "the last pass of each process is known"
    found = gradients(model, 1 / world)

    losses = []
    for i in (2, 0, 1):
        chosen, rejected = (len(side) for side in rows[i].responses)
        own_weights = (float(weights[i, 0]), float(weights[i, 1]))
        logps = plain_logps(model, rows[i])
        losses.append(FORMULAS[method](Pair(logps, refs[i], (chosen, rejected), own_weights, float(unsafe[i]))))
    expected = torch.stack(losses).mean()
    torch.autograd.backward(expected)
    assert figures["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-4, msg=name)
