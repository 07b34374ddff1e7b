"""Words follow from the figures, never go beyond them."""

import pytest

from bdpo.evaluation.report.verdict import judge_figures
from bdpo.evaluation.summary import Figure, adjusted, compare


def figure(metric: str, base: int, aligned: int, n: int = 100) -> Figure:
    return compare(
        "b",
        metric,
        [i < base for i in range(n)],
        [i < aligned for i in range(n)],
        confidence=0.95,
        limited_from=None,
    )


@pytest.mark.parametrize(
    ("figures", "headline"),
    [
        (
            [figure("refusal_rate", 20, 60), figure("over_refusal_rate", 5, 6), figure("accuracy", 50, 20)],
            "Safer than the base model. No change in over-refusal is shown. General ability falls.",
        ),
        (
            [figure("attack_success_rate", 60, 20), figure("over_refusal_rate", 5, 50)],
            "Safer than the base model. It refuses more harmless prompts. General ability was not measured.",
        ),
        (
            [figure("refusal_rate", 20, 60), figure("attack_success_rate", 20, 60)],
            "Safer on some prompts and less safe on others. Over-refusal was not measured: a model that refuses "
            "everything would look just as safe. General ability was not measured.",
        ),
        (
            [figure("refusal_rate", 60, 20), figure("over_refusal_rate", 50, 5), figure("accuracy", 20, 50)],
            "Less safe than the base model. It refuses fewer harmless prompts. General ability rises.",
        ),
    ],
)
def test_headlines(figures: list[Figure], headline: str) -> None:
    assert judge_figures(adjusted(figures)).headline == headline


def test_a_change_that_several_tests_may_show_by_chance_is_not_shown() -> None:
    """0 to 6 of 100: p = 2 / 2^6 = 0.031, shown alone, and not among two figures (0.0625)."""
    alone = adjusted([figure("refusal_rate", 0, 6)])
    assert judge_figures(alone).headline.startswith("Safer")
    two = adjusted([figure("refusal_rate", 0, 6), figure("over_refusal_rate", 5, 5)])
    assert judge_figures(two).headline.startswith("No change in safety is shown.")
    assert judge_figures(two).notes[0] == (
        "b, refusal of harmful prompts: 0.0% [0.0, 3.7] for the base model and 6.0% [2.8, 12.5] for the aligned one, "
        "on 100 items; +6.0 points [+1.1, +12.5], p = 0.062: which chance alone may give."
    )


def test_no_verdicts_no_claim() -> None:
    empty = compare("b", "refusal_rate", [None], [None], confidence=0.95, limited_from=None)
    verdict = judge_figures(adjusted([empty]))
    assert verdict.headline.startswith("No change in safety is shown.")
    assert verdict.notes == [
        "b, refusal of harmful prompts: no item has a verdict for both models, so nothing can be said."
    ]
