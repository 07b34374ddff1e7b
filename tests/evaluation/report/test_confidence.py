"""What counts as shown follows the level of the intervals."""

import pytest

from bdpo.evaluation.report.verdict import judge_figures
from bdpo.evaluation.summary import adjusted, compare


@pytest.mark.parametrize(
    ("changed", "confidence", "is_shown"),
    [(5, 0.9, True), (5, 0.95, False), (6, 0.9, True), (6, 0.95, True), (6, 0.99, False)],
)
def test_a_change_is_shown_at_the_level_that_was_asked_for(changed: int, confidence: float, is_shown: bool) -> None:
    """0 to 5 of 100: p = 2 / 2^5 = 0.0625; 0 to 6: p = 0.031."""
    aligned = [i < changed for i in range(100)]
    figure = compare("b", "refusal_rate", [False] * 100, aligned, confidence=confidence, limited_from=None)
    verdict = judge_figures(adjusted([figure]))
    says = "Safer than the base model." if is_shown else "No change in safety is shown."
    assert verdict.headline.startswith(says)
    assert verdict.notes[0].shown is is_shown
