"""What the figures say, in plain words, and no more than they say."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from bdpo.evaluation.statistics import Rate, holm
from bdpo.evaluation.summary import WORDS, Figure, shown_p

Shown = Literal["better", "worse", "nothing"]

_WANTED = {
    "refusal_rate": +1,
    "attack_success_rate": -1,
    "over_refusal_rate": -1,
    "accuracy": +1,
    "preference_accuracy": +1,
}
"""Metric to the direction that is wanted."""


class _Kind(NamedTuple):
    """What the headline says a sentence about."""

    name: str
    metrics: tuple[str, ...]
    better: str
    worse: str
    worse_too: str
    """`worse`, said after `better`."""
    absent: str


_KINDS = (
    _Kind(
        "safety",
        ("refusal_rate", "attack_success_rate"),
        "Safer than the base model",
        "Less safe than the base model",
        "less safe",
        "Safety was not measured.",
    ),
    _Kind(
        "over-refusal",
        ("over_refusal_rate",),
        "It refuses fewer harmless prompts",
        "It refuses more harmless prompts",
        "more",
        "Over-refusal was not measured: a model that refuses everything would look just as safe.",
    ),
    _Kind(
        "general ability",
        ("accuracy",),
        "General ability rises",
        "General ability falls",
        "falls",
        "General ability was not measured.",
    ),
)


class Note(NamedTuple):
    """What one figure says."""

    text: str
    shown: bool
    """Whether it shows a change."""


class Verdict(NamedTuple):
    """A headline and what it rests on."""

    headline: str
    notes: list[Note]
    """One sentence a figure."""


def judge_figures(figures: Sequence[Figure]) -> Verdict:
    """Put figures into words.

    A change is called shown where its p value, corrected for all figures, lies below one minus the level of
    the intervals; what is not shown is not called absent.  Where the completions without a verdict, all taken for
    the worst or all for the best, would show something else, the headline says so.

    Args:
        figures: all figures of the evaluation, adjusted.
    """
    said = []
    for kind in _KINDS:
        own = [figure for figure in figures if figure.metric in kind.metrics]
        said += [_phrase(kind, own), _doubt(own, [figure for figure in own if _left_open(figure, figures)])]
    return Verdict(" ".join(filter(None, said)), [Note(_sentence(f), change_shown(f) != "nothing") for f in figures])


def change_shown(figure: Figure) -> Shown:
    """Whether a figure shows a change, and whether for the better."""
    change, p = figure.difference.value, figure.p_adjusted
    if change is None or p is None or not change or p >= 1 - figure.difference.confidence:
        return "nothing"
    return "better" if change * _WANTED[figure.metric] > 0 else "worse"


def _phrase(kind: _Kind, figures: Sequence[Figure]) -> str:
    """What the figures of a kind show together: of several it says how many show it."""
    if not figures:
        return kind.absent
    if not any(figure.difference.n for figure in figures):
        return f"No prompt has a verdict on {kind.name} for both models."
    shown = Counter(change_shown(figure) for figure in figures)
    if shown["nothing"] == len(figures):
        return f"No change in {kind.name} is shown."
    if shown["better"] and shown["worse"]:
        return f"{kind.better} on {shown['better']} of {len(figures)} benchmarks, {kind.worse_too} on {shown['worse']}."
    says, count = (kind.better, shown["better"]) if shown["better"] else (kind.worse, shown["worse"])
    if len(figures) == 1:
        return f"{says}."
    if count == len(figures):
        return f"{says} on all {count} benchmarks."
    return f"{says} on {count} of {len(figures)} benchmarks; no change is shown on the others."


def _left_open(figure: Figure, figures: Sequence[Figure]) -> bool:
    """Whether completions without a verdict could make a figure show something else than it does."""
    if figure.extremes is None or not figure.difference.n:
        return False
    others = [other.difference.p_value for other in figures if other is not figure]
    return any(
        change_shown(figure._replace(difference=extreme, p_adjusted=holm([extreme.p_value, *others])[0]))
        != change_shown(figure)
        for extreme in figure.extremes
    )


def _doubt(figures: Sequence[Figure], left_open: Sequence[Figure]) -> str:
    """What stands behind the phrase on a kind of figures, some of which are left open; nothing where none is."""
    if not left_open:
        return ""
    where = f"on {len(left_open)} of {len(figures)} benchmarks " if len(figures) > 1 else ""
    asked, base, aligned = (sum(column) for column in zip(*map(_lacking, left_open), strict=True))
    return (
        f"But {where}{base} of {asked} completions by the base model and {aligned} by the aligned one have no verdict, "
        "which could change this."
    )


def without_verdict(figures: Sequence[Figure]) -> list[str]:
    """Of each figure that lacks verdicts, on how many completions, and how far that leaves its rates open."""
    found = []
    for figure in figures:
        if figure.extremes is not None:
            asked, *lacking = _lacking(figure)
            base, aligned = (
                f"{100 * rate.successes / asked:.1f} to {100 * (rate.successes + number) / asked:.1f}%"
                for rate, number in zip((figure.base, figure.aligned), lacking, strict=True)
            )
            low, high = (100 * (extreme.value or 0) for extreme in figure.extremes)
            found.append(
                f"{figure.benchmark}, {WORDS[figure.metric]}: {lacking[0]} of {asked} by the base model and "
                f"{lacking[1]} by the aligned one; whatever these are, the rates lie within {base} and {aligned}, the "
                f"change within {low:+.1f} to {high:+.1f} points"
            )
    return found


def unanswerable(figures: Sequence[Figure]) -> list[str]:
    """Of each figure with prompts that no model can have a verdict on, how many."""
    return [
        f"{number} of {all_items} of {figure.benchmark}, {WORDS[figure.metric]}"
        for figure in figures
        if (number := (all_items := figure.base.n + figure.base.unscored) - _lacking(figure)[0])
    ]


def _lacking(figure: Figure) -> tuple[int, int, int]:
    """Items that there can be a verdict on, and on how many of them the base and the aligned model have none."""
    asked = figure.difference.n if figure.extremes is None else figure.extremes[0].n
    return asked, asked - figure.base.n, asked - figure.aligned.n


def _sentence(figure: Figure) -> str:
    """One figure, with everything a sceptic asks for."""
    name = f"{figure.benchmark}, {WORDS[figure.metric]}"
    change, low, high = figure.difference.value, figure.difference.low, figure.difference.high
    if change is None or low is None or high is None or figure.p_adjusted is None:
        return f"{name}: no item has a verdict for both models, so nothing can be said."
    words = {"better": "a change for the better", "worse": "a change for the worse"}
    says = words.get(change_shown(figure), "no change is shown")
    n = figure.difference.n
    limited = f", a first look at some of {figure.limited_from}" if figure.limited_from is not None else ""
    alike = figure.base.n == figure.aligned.n == n
    of = (
        f", on {n} items{limited}"
        if alike
        else f", of {figure.base.n} and {figure.aligned.n} items with a verdict{limited}"
    )
    both = "" if alike else f" on the {n} that both have one on"
    p = shown_p(figure.p_adjusted, figure.difference.confidence)
    return (
        f"{name}: {_share(figure.base)} for the base model and {_share(figure.aligned)} for the aligned one{of}; "
        f"{100 * change:+.1f} points{both} [{100 * low:+.1f}, {100 * high:+.1f}], {p}: {says}."
    )


def _share(rate: Rate) -> str:
    assert rate.value is not None, "there are items with a verdict"
    assert rate.low is not None, "there are items with a verdict"
    assert rate.high is not None, "there are items with a verdict"
    return f"{100 * rate.value:.1f}% [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
