"""What the rows of a run's metrics say: the best evaluation, whether to stop, what to tell the user.

A row is `{"step", "epoch", "split", metric: value, ...}`; the metrics of an evaluation begin with `eval_`.
"""

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

GAPS = ("rewards/accuracies", "rewards/margins")
_NOTABLE = 0.05
"""Rewards nearer to 0 are the noise of a run's first steps."""
_VANISHED = 1e-12
"""A gradient of this norm is no longer one."""
_LEARNT = 1e-6
"""A loss nearer to 0 leaves nothing to learn, as the hinge's beyond its margin and the sigmoid's of far apart pairs."""


def evaluations(rows: Sequence[Row]) -> list[Row]:
    """The rows of the validation split, in order."""
    return [row for row in rows if row["split"] == "validation"]


def cost(row: Row, metric: str) -> float:
    """A metric with the sign that makes smaller better."""
    value: float = row[metric]
    return value if metric == "eval_loss" else -value


def best_step(rows: Sequence[Row], metric: str) -> int | None:
    """The step of the best evaluation, the first of equals; None before any."""
    found = evaluations(rows)
    return min(found, key=lambda row: cost(row, metric))["step"] if found else None


def patience_is_over(rows: Sequence[Row], metric: str, patience: int) -> bool:
    """Whether the last `patience` evaluations brought no new best."""
    steps = [row["step"] for row in evaluations(rows)]
    best = best_step(rows, metric)
    return best is not None and len(steps) - 1 - steps.index(best) >= patience


def gaps(rows: Sequence[Row], evaluated: Row) -> dict[str, float]:
    """Training minus validation, `gap/...`: how far a run has overfitted.

    Args:
        rows: so far, without the new evaluation.
        evaluated: the new evaluation; training is the mean of the steps since the one before.
    """
    before = max((row["step"] for row in evaluations(rows)), default=0)
    recent = [row for row in rows if row["split"] == "train" and row["step"] > before]
    if not recent:
        return {}
    return {f"gap/{name}": sum(row[name] for row in recent) / len(recent) - evaluated[f"eval_{name}"] for name in GAPS}


def has_vanished(norm: float, loss: float) -> bool:
    """Whether a step had a loss and no gradient of it; a batch that is learnt has neither."""
    return norm < _VANISHED and abs(loss) > _LEARNT


def both_fall(rows: Sequence[Row]) -> str | None:
    """A sentence where the last evaluation found both rewards clearly negative and lower than the one before."""
    names = ("eval_rewards/chosen", "eval_rewards/rejected")
    found = evaluations(rows)
    if not found:
        return None
    before = found[-2] if len(found) > 1 else dict.fromkeys(names, 0.0)
    last = found[-1]
    if not all(last[name] < min(before[name], -_NOTABLE) for name in names):
        return None
    return (
        f"both rewards fall together: at step {last['step']} the chosen responses of the validation split have a "
        f"reward of {last[names[0]]:.3g} and the rejected ones of {last[names[1]]:.3g}, so the model gives up the "
        "good responses too; lower train.learning_rate, raise train.beta, or try the method bounded_dpo"
    )
