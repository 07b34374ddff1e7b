"""What is read off the rows of a run."""

from typing import Any

import pytest

from bdpo.training.watch import best_step, both_fall, gaps, has_vanished, patience_is_over


def evaluation(step: int, **metrics: float) -> dict[str, Any]:
    return {"step": step, "split": "validation"} | {f"eval_{name}": value for name, value in metrics.items()}


def rewards(step: int, chosen: float, rejected: float) -> dict[str, Any]:
    return evaluation(step, **{"rewards/chosen": chosen, "rewards/rejected": rejected})


def losses(*values: float) -> list[dict[str, Any]]:
    return [evaluation(10 * (i + 1), loss=value) for i, value in enumerate(values)]


def test_the_best_is_the_first_of_equals() -> None:
    assert best_step(losses(0.6, 0.5, 0.5, 0.7), "eval_loss") == 20
    assert best_step([], "eval_loss") is None
    margins = [evaluation(step, **{"rewards/margins": value}) for step, value in ((1, 0.1), (2, 0.3), (3, 0.2))]
    assert best_step(margins, "eval_rewards/margins") == 2


@pytest.mark.parametrize(
    ("values", "over"), [((), False), ((0.5,), False), ((0.5, 0.6), False), ((0.5, 0.6, 0.5), True), ((9, 8, 7), False)]
)
def test_patience_counts_evaluations_without_a_new_best(values: tuple[float, ...], over: bool) -> None:
    assert patience_is_over(losses(*values), "eval_loss", 2) is over


def test_the_gap_is_the_training_since_the_last_evaluation_less_the_validation() -> None:
    def trained(step: int, accuracy: float) -> dict[str, Any]:
        return {"step": step, "split": "train", "rewards/accuracies": accuracy, "rewards/margins": 2.0}

    before = {"rewards/accuracies": 0.5, "rewards/margins": 0.5}
    rows = [trained(1, 0.0), evaluation(1, **before), trained(2, 0.5), trained(3, 1.0)]
    assert gaps(rows, before | evaluation(3, **before)) == {"gap/rewards/accuracies": 0.25, "gap/rewards/margins": 1.5}
    assert gaps(rows[:2], evaluation(1, **before)) == {}, "nothing was trained since"


def test_a_gradient_has_vanished_where_there_is_something_to_learn() -> None:
    """One pair a step, twenty nats apart at a beta of 2, is learnt: -log sigmoid(40) is 4e-18, its gradient no more."""
    assert has_vanished(0.0, 0.69)
    assert has_vanished(1e-20, -0.3), "robust losses are negative"
    assert not has_vanished(0.0, 0.0)
    assert not has_vanished(0.0, 4e-18)
    assert not has_vanished(1e-3, 0.69)


def test_a_note_when_both_rewards_fall_together() -> None:
    assert both_fall([]) is None
    assert both_fall([rewards(10, 0.1, -0.5)]) is None
    assert both_fall([rewards(10, -0.004, -0.002)]) is None  # noise
    first = both_fall([rewards(10, -0.1, -0.5)])
    assert first is not None
    assert "at step 10 the chosen responses of the validation split have a reward of -0.1" in first
    assert both_fall([rewards(10, -0.3, -0.5), rewards(20, -0.2, -0.9)]) is None  # the chosen one recovers
    assert both_fall([rewards(10, -0.3, -0.5), rewards(20, -0.4, -0.9)]) is not None
