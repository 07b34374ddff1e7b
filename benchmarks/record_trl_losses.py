"""Record what TRL's own code makes of fixed log-probs: `tests/golden/trl_losses.json`.

    python -m benchmarks.record_trl_losses

`DPOTrainer._compute_loss` and `CPOTrainer.cpo_loss` run as they are, in float64, on a model that gives
the log-probs of `_TERMS`.  Tests compare `bdpo.losses` with the file, and need no TRL.
"""

import importlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

DPOTrainer: Any = importlib.import_module("trl").DPOTrainer  # typed in part
CPOTrainer: Any = importlib.import_module("trl.experimental.cpo").CPOTrainer

TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden" / "trl_losses.json"

_TERMS: dict[str, list[float]] = {
    "policy_chosen_logps": [-41.25, -7.5, -120.0, -3.0],
    "policy_rejected_logps": [-38.5, -30.25, -119.0, -300.0],
    "ref_chosen_logps": [-43.0, -7.5, -100.5, -4.0],
    "ref_rejected_logps": [-36.0, -28.0, -125.25, -90.0],
    "chosen_tokens": [20, 3, 60, 2],
    "rejected_tokens": [17, 12, 55, 100],
}
_DPO: list[tuple[str, str, dict[str, float]]] = [
    ("sigmoid", "sigmoid", {"beta": 0.1}),
    ("robust", "robust", {"beta": 0.2, "label_smoothing": 0.15}),
    ("ipo", "ipo", {"beta": 0.5}),
    ("hinge", "hinge", {"beta": 0.1}),
]
_CPO: list[tuple[str, str, dict[str, float]]] = [
    ("simpo", "simpo", {"beta": 2.0, "gamma": 0.75}),
    ("simpo", "simpo", {"beta": 2.0, "gamma": 0.5, "label_smoothing": 0.1}),
    ("sigmoid", "cpo", {"beta": 0.1}),
    ("sigmoid", "cpo", {"beta": 0.1, "label_smoothing": 0.2}),
]


class _OneProcess:
    """The part of an accelerator that the losses call."""

    device = torch.device("cpu")

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    gather_for_metrics = gather


def _dpo(loss: str, constants: dict[str, float], pair: dict[str, float]) -> tuple[float, float, float]:
    """TRL's loss and rewards of one pair."""
    tokens = [int(pair["chosen_tokens"]), int(pair["rejected_tokens"])]
    length = max(tokens)
    mask = torch.zeros(2, length + 1, dtype=torch.int64)
    log_probs = torch.zeros(2, length, dtype=torch.float64)
    for row, side in enumerate(("chosen", "rejected")):
        mask[row, 1 : tokens[row] + 1] = 1
        log_probs[row, 0] = pair[f"policy_{side}_logps"]
    nothing = torch.zeros(2, length)
    outputs = SimpleNamespace(log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=_OneProcess(),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss],
        loss_weights=[1.0],
        beta=constants["beta"],
        label_smoothing=constants.get("label_smoothing", 0.0),
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": torch.tensor([pair["ref_chosen_logps"]], dtype=torch.float64),
        "ref_rejected_logps": torch.tensor([pair["ref_rejected_logps"]], dtype=torch.float64),
    }
    value = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, return_outputs=False)
    rewards = [trainer._metrics["train"][f"rewards/{side}"][0] for side in ("chosen", "rejected")]
    return value.item(), rewards[0], rewards[1]


def _cpo(loss: str, constants: dict[str, float], pair: dict[str, float]) -> tuple[float, float, float]:
    """TRL's loss and rewards of one pair, without the negative log-likelihood that it adds by the batch."""
    trainer = SimpleNamespace(
        accelerator=_OneProcess(),
        alpha=0.0,
        loss_type=loss,
        beta=constants["beta"],
        simpo_gamma=constants.get("gamma", 0.0),
        label_smoothing=constants.get("label_smoothing", 0.0),
    )
    sides = [
        torch.tensor([pair[f"policy_{side}_logps"]], dtype=torch.float64)
        / (pair[f"{side}_tokens"] if loss == "simpo" else 1)
        for side in ("chosen", "rejected")
    ]
    value, chosen, rejected = CPOTrainer.cpo_loss(trainer, *sides)
    return value.item(), chosen.item(), rejected.item()


def main() -> None:
    """Write the file."""
    cases: list[dict[str, Any]] = []
    for trainer, function, settings in (("DPOTrainer", _dpo, _DPO), ("CPOTrainer", _cpo, _CPO)):
        for theirs, ours, constants in settings:
            terms = {n: v for n, v in _TERMS.items() if trainer == "DPOTrainer" or not n.startswith("ref_")}
            pairs = [dict(zip(_TERMS, values, strict=True)) for values in zip(*_TERMS.values(), strict=True)]
            values = [function(theirs, constants, pair) for pair in pairs]
            losses, chosen, rejected = (list(column) for column in zip(*values, strict=True))
            cases.append(
                {
                    "trl": f"{trainer} {theirs} {constants}",
                    "loss": ours,
                    "constants": constants,
                    "terms": terms,
                    "losses": losses,
                    "chosen_rewards": chosen,
                    "rejected_rewards": rejected,
                }
            )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{TARGET}: {len(cases)} cases\n")


if __name__ == "__main__":
    main()
