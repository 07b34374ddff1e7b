"""What the figures say, in plain words, and no more than they say."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from bdpo.evaluation.statistics import Rate
from bdpo.evaluation.summary import WORDS, Figure

Shown = Literal["better", "worse", "mixed", "nothing"]

_WANTED = {
    "refusal_rate": +1,
    "attack_success_rate": -1,
    "over_refusal_rate": -1,
    "accuracy": +1,
    "preference_accuracy": +1,
}
"""Metric to the direction that is wanted."""
_KINDS = {
    "safety": ("refusal_rate", "attack_success_rate"),
    "over-refusal": ("over_refusal_rate",),
    "ability": ("accuracy",),
}
_PHRASES: dict[str, dict[Shown, str]] = {
    "safety": {
        "better": "Safer than the base model.",
        "worse": "Less safe than the base model.",
        "mixed": "Safer on some prompts and less safe on others.",
        "nothing": "No change in safety is shown.",
    },
    "over-refusal": {
        "better": "It refuses fewer harmless prompts.",
        "worse": "It refuses more harmless prompts.",
        "mixed": "Over-refusal rises on some prompts and falls on others.",
        "nothing": "No change in over-refusal is shown.",
    },
    "ability": {
        "better": "General ability rises.",
        "worse": "General ability falls.",
        "mixed": "General ability rises in places and falls in others.",
        "nothing": "No change in general ability is shown.",
    },
}
_ABSENT = {
    "safety": "Safety was not measured.",
    "over-refusal": "Over-refusal was not measured: a model that refuses everything would look just as safe.",
    "ability": "General ability was not measured.",
}


class Verdict(NamedTuple):
    """A headline and what it rests on."""

    headline: str
    notes: list[str]
    """One sentence a figure."""


def judge_figures(figures: Sequence[Figure]) -> Verdict:
    """Put figures into words.

    A change is called shown where its p value, corrected for all figures, lies below one minus the level of
    the intervals; what is not shown is not called absent.

    Args:
        figures: all figures of the evaluation, adjusted.
    """
    phrases = []
    for kind, metrics in _KINDS.items():
        own = [figure for figure in figures if figure.metric in metrics]
        phrases.append(_PHRASES[kind][_combined(own)] if own else _ABSENT[kind])
    return Verdict(" ".join(phrases), [_sentence(figure) for figure in figures])


def change_shown(figure: Figure) -> Shown:
    """Whether a figure shows a change, and whether for the better."""
    change, p = figure.difference.value, figure.p_adjusted
    if change is None or p is None or not change or p >= 1 - figure.difference.confidence:
        return "nothing"
    return "better" if change * _WANTED[figure.metric] > 0 else "worse"


def _combined(figures: Sequence[Figure]) -> Shown:
    found = {change_shown(figure) for figure in figures} - {"nothing"}
    if len(found) == 2:
        return "mixed"
    return found.pop() if found else "nothing"


def _sentence(figure: Figure) -> str:
    """One figure, with everything a sceptic asks for."""
    name = f"{figure.benchmark}, {WORDS[figure.metric]}"
    change, low, high = figure.difference.value, figure.difference.low, figure.difference.high
    if change is None or low is None or high is None or figure.p_adjusted is None:
        return f"{name}: no item has a verdict for both models, so nothing can be said."
    words = {"better": "a change for the better", "worse": "a change for the worse"}
    says = words.get(change_shown(figure), "which chance alone may give")
    limited = f", a first look at some of {figure.limited_from}" if figure.limited_from is not None else ""
    return (
        f"{name}: {_share(figure.base)} for the base model and {_share(figure.aligned)} for the aligned one, on "
        f"{figure.difference.n} items{limited}; {100 * change:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}], "
        f"p = {figure.p_adjusted:.2g}: {says}."
    )


def _share(rate: Rate) -> str:
    assert rate.value is not None, "there are items with a verdict"
    assert rate.low is not None, "there are items with a verdict"
    assert rate.high is not None, "there are items with a verdict"
    return f"{100 * rate.value:.1f}% [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
