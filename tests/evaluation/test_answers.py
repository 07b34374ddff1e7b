"""Exact rules for answers."""

import pytest

from bdpo.evaluation.answers import is_right


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        ("16 - 7 = 9, and 9 * 2 = 18.", "18", True),
        ("The answer is $1,200.00", "1200", True),
        ("It is 18 at first, then 20", "18", False),
        ("no number", "18", False),
        ("It is -3", "-3", True),
        ("That was Ada Lovelace, of course.", "ada  lovelace", True),
        ("José wrote it", "Jose", True),
        ("Adam did", "Ada", False),
        ("", "Ada", False),
        ("Lovelace, Ada", "Ada Lovelace", False),
    ],
)
def test_by_hand(completion: str, answer: str, right: bool) -> None:
    assert is_right(completion, answer) is right
