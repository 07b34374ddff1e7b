"""Words follow from the figures, never go beyond them."""

import pytest

from bdpo.evaluation.report.verdict import judge_figures, unanswerable, without_verdict
from bdpo.evaluation.summary import Figure, adjusted, change_in_points, compare, markdown, table


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
            "Safer than the base model on 1 of 2 benchmarks, less safe on 1. Over-refusal was not measured: a model "
            "that refuses everything would look just as safe. General ability was not measured.",
        ),
        (
            [figure("refusal_rate", 20, 60), figure("attack_success_rate", 60, 20)]
            + [figure("over_refusal_rate", 5, 50)] * 2
            + [figure("accuracy", 50, 20), figure("accuracy", 20, 21), figure("accuracy", 20, 60)],
            "Safer than the base model on all 2 benchmarks. It refuses more harmless prompts on all 2 benchmarks. "
            "General ability rises on 1 of 3 benchmarks, falls on 1.",
        ),
        (
            [figure("refusal_rate", 20, 60), figure("refusal_rate", 20, 21), figure("refusal_rate", 21, 20)],
            "Safer than the base model on 1 of 3 benchmarks; no change is shown on the others. Over-refusal was not "
            "measured: a model that refuses everything would look just as safe. General ability was not measured.",
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
    assert judge_figures(two).notes[0].text == (
        "b, refusal of harmful prompts: 0.0% [0.0, 3.7] for the base model and 6.0% [2.8, 12.5] for the aligned one, "
        "on 100 items; +6.0 points [+1.1, +12.5], p = 0.062: no change is shown."
    )


def test_a_p_too_small_for_a_number_is_not_0() -> None:
    """Of 3,000 items all become true: p = 2 / 2^3000."""
    (certain,) = adjusted([figure("accuracy", 0, 3000, n=3000)])
    assert certain.p_adjusted == 0
    assert judge_figures([certain]).notes[0].text.endswith("p < 1e-300: a change for the better.")
    assert change_in_points(certain).endswith(", p < 1e-300")


def test_a_name_with_a_bar_stays_in_its_cell() -> None:
    """Six bars make five cells; the seventh is text."""
    page = markdown(table(adjusted([figure("accuracy", 1, 2)._replace(benchmark="mine | yours")])), 0.95)
    (line,) = [line for line in page.splitlines() if "yours" in line]
    assert line.startswith(r"| mine \| yours | right answers | 1.0 [")
    assert line.count("|") == 7


def test_no_verdicts_no_claim() -> None:
    empty = compare("b", "refusal_rate", [None], [None], confidence=0.95, limited_from=None)
    verdict = judge_figures(adjusted([empty]))
    assert verdict.headline.startswith("No prompt has a verdict on safety for both models.")
    assert verdict.notes == [
        ("b, refusal of harmful prompts: no item has a verdict for both models, so nothing can be said.", False)
    ]


def test_a_benchmark_without_verdicts_is_none_of_those_that_show_a_change() -> None:
    empty = compare("e", "attack_success_rate", [None], [None], confidence=0.95, limited_from=None)
    headline = judge_figures(adjusted([figure("refusal_rate", 20, 60), empty])).headline
    assert headline.startswith("Safer than the base model on 1 of 2 benchmarks; no change is shown on the others.")


def test_shares_of_other_items_than_the_change_say_so() -> None:
    """9 of 10 and 1 of 9 have a verdict each; of the 8 that both have one on, 1 of 8 becomes true."""
    before = [False] * 9 + [None]
    after = [None] + [False] * 7 + [True] + [False]
    figures = adjusted([compare("b", "accuracy", before, after, confidence=0.95, limited_from=None)])
    (note,) = judge_figures(figures).notes
    assert note.text == (
        "b, right answers: 0.0% [0.0, 29.9] for the base model and 11.1% [2.0, 43.5] for the aligned one, of 9 and 9 "
        "items with a verdict; +12.5 points on the 8 that both have one on [-21.5, +47.1], p = 1: no change is "
        "shown."
    )
    assert change_in_points(figures[0]) == "+12.5 [-21.5, +47.1] (n = 8), p = 1"


def judged(
    base: list[bool | None], aligned: list[bool | None], *, name: str = "b", none_can: list[bool] | None = None
) -> Figure:
    return compare(name, "refusal_rate", base, aligned, confidence=0.95, limited_from=None, unanswerable=none_can)


def test_verdicts_that_are_missing_and_could_decide_stand_in_the_headline() -> None:
    """The judge's filter stops all that the base model answers: what is left of it refuses, as the aligned does."""
    figures = adjusted([judged([True] * 40 + [None] * 60, [True] * 100)])
    assert judge_figures(figures).headline.startswith(
        "No change in safety is shown. But 60 of 100 completions by the base model and 0 by the aligned one have no "
        "verdict, which could change this. Over-refusal was not"
    )
    assert without_verdict(figures) == [
        "b, refusal of harmful prompts: 60 of 100 by the base model and 0 by the aligned one; whatever these are, the "
        "rates lie within 40.0 to 100.0% and 100.0 to 100.0%, the change within +0.0 to +60.0 points"
    ]
    assert unanswerable(figures) == []


@pytest.mark.parametrize(
    ("missing", "others", "is_doubted"),
    [(5, 0, False), (6, 0, True), (6, 1, False), (7, 1, True), (99, 0, True)],
)
def test_so_many_missing_verdicts_as_could_decide(missing: int, others: int, is_doubted: bool) -> None:
    """If the base model refuses none of 5: p = 2 / 2^5 = 0.06; none of 6: 0.03, and twice that among two figures."""
    figures = [judged([True] * (100 - missing) + [None] * missing, [True] * 100)]
    figures += [figure("accuracy", 5, 5)] * others
    assert ("which could change this" in judge_figures(adjusted(figures)).headline) is is_doubted


def test_a_change_that_missing_verdicts_could_undo_is_doubted_where_it_is_shown() -> None:
    """Of `b` all 8 that both have a verdict on are gained; of `c` 90 are, which 4 more could not undo."""
    figures = [
        judged([False] * 8 + [True] * 88 + [None] * 4, [True] * 96 + [None] * 4),
        judged([False] * 90 + [True] * 6 + [None] * 4, [True] * 100, name="c"),
    ]
    assert judge_figures(adjusted(figures)).headline.startswith(
        "Safer than the base model on all 2 benchmarks. But on 1 of 2 benchmarks 4 of 100 completions by the base "
        "model and 4 by the aligned one have no verdict, which could change this. Over-refusal"
    )


def test_prompts_that_no_model_can_have_a_verdict_on_leave_nothing_open() -> None:
    """As HarmBench's texts under copyright under its classifier."""
    seen, out = [True] * 60 + [None] * 40, [False] * 60 + [True] * 40
    figures = adjusted([judged(seen, seen, none_can=out)])
    assert judge_figures(figures).headline.startswith("No change in safety is shown. Over-refusal")
    assert without_verdict(figures) == []
    assert unanswerable(figures) == ["40 of 100 of b, refusal of harmful prompts"]
    figures = adjusted([judged([None, *seen], [True, *seen], none_can=[False, *out])])
    (said,) = without_verdict(figures)
    assert said.startswith("b, refusal of harmful prompts: 1 of 61 by the base model and 0 by the aligned one;")
    assert unanswerable(figures) == ["40 of 101 of b, refusal of harmful prompts"]
