"""The training methods and what each is made of: the one place that knows.

Kept with the settings, which refuse a hyperparameter that the chosen method does not use; the formulas
are in `bdpo.losses` and `bdpo.balance`.
"""

from dataclasses import dataclass
from typing import Final, Literal

Method = Literal["dpo", "dpo_bw", "dpo_sf", "bdpo", "robust", "ipo", "hinge", "simpo", "cpo", "safedpo", "bounded_dpo"]
Loss = Literal["sigmoid", "robust", "ipo", "hinge", "simpo", "cpo", "safedpo", "bounded"]
Balance = Literal["none", "inverse", "softmax"]
Scale = Literal["none", "harmonic", "norm"]

_WEIGHTING = frozenset({"balance", "scale", "mi_floor", "tau"})


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """What a method is made of."""

    loss: Loss
    source: str
    """Paper."""
    balance: Balance = "none"
    scale: Scale = "none"
    beta: float = 0.1
    """What `beta` is where the settings do not say."""
    hyperparameters: frozenset[str] = frozenset()
    """Fields of `TrainSettings` that this method uses and some others do not; `beta` is everybody's."""
    needs_reference: bool = True
    """The loss holds the reference model's log-probs."""
    needs_safety_labels: bool = False
    """The loss holds the columns `chosen_safe` and `rejected_safe` of the pairs."""


METHODS: Final[dict[Method, MethodFacts]] = {
    "dpo": MethodFacts(loss="sigmoid", source="arXiv 2305.18290", hyperparameters=_WEIGHTING | {"label_smoothing"}),
    "dpo_bw": MethodFacts(
        loss="sigmoid",
        source="arXiv 2603.22829",
        balance="inverse",
        hyperparameters=_WEIGHTING | {"label_smoothing"},
    ),
    "dpo_sf": MethodFacts(
        loss="sigmoid",
        source="arXiv 2603.22829",
        scale="harmonic",
        hyperparameters=_WEIGHTING | {"label_smoothing"},
    ),
    "bdpo": MethodFacts(
        loss="sigmoid",
        source="arXiv 2603.22829",
        balance="inverse",
        scale="harmonic",
        hyperparameters=_WEIGHTING | {"label_smoothing"},
    ),
    "robust": MethodFacts(loss="robust", source="arXiv 2403.00409", hyperparameters=frozenset({"label_smoothing"})),
    "ipo": MethodFacts(loss="ipo", source="arXiv 2310.12036"),
    "hinge": MethodFacts(loss="hinge", source="arXiv 2305.10425"),
    "simpo": MethodFacts(
        loss="simpo",
        source="arXiv 2405.14734",
        # Rewards by the token: with its authors' beta of 2 the default `gamma` asks for a quarter of a nat a token.
        beta=2.0,
        hyperparameters=frozenset({"gamma", "label_smoothing"}),
        needs_reference=False,
    ),
    "cpo": MethodFacts(
        loss="cpo",
        source="arXiv 2401.08417",
        hyperparameters=frozenset({"nll_weight", "label_smoothing"}),
        needs_reference=False,
    ),
    "safedpo": MethodFacts(
        loss="safedpo",
        source="arXiv 2505.20065",
        hyperparameters=frozenset({"safety_margin"}),
        needs_safety_labels=True,
    ),
    "bounded_dpo": MethodFacts(loss="bounded", source="arXiv 2506.12725", hyperparameters=frozenset({"policy_share"})),
}


def methods_with(hyperparameter: str) -> list[Method]:
    """The methods that use a hyperparameter; all of them for one that belongs to none in particular."""
    users = [name for name, facts in METHODS.items() if hyperparameter in facts.hyperparameters]
    return users or list(METHODS)


def unused(method: Method, balance: Balance | None = None, scale: Scale | None = None) -> dict[str, str]:
    """The hyperparameters that a training leaves alone.

    Args:
        method: the training's.
        balance: form of the balance weight; the method's own by default.
        scale: form of the scaling factor; the method's own by default.

    Returns:
        Name to why, in words that follow `is not used`.
    """
    facts = METHODS[method]
    every = frozenset().union(*(other.hyperparameters for other in METHODS.values()))
    found = {
        name: f"by the method {method} (only by {', '.join(methods_with(name))})"
        for name in sorted(every - facts.hyperparameters)
    }
    balance, scale = balance or facts.balance, scale or facts.scale
    forms = f"with balance {balance} and scale {scale} (only with"
    if balance != "softmax":
        found.setdefault("tau", f"{forms} balance softmax)")
    if balance != "inverse" and scale != "harmonic":
        found.setdefault("mi_floor", f"{forms} balance inverse and scale harmonic)")
    return found
