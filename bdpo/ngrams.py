"""Runs of words, by which texts are compared: case, punctuation and spacing do not count."""

import re
from collections.abc import Sequence

OVERLAP_WORDS = 8
"""Length of a run of words that two prompts are unlikely to share by chance."""
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text.lower())


def runs(said: Sequence[str], length: int) -> list[str]:
    """Every `length` words in a row; none where there are fewer."""
    return [" ".join(said[i : i + length]) for i in range(len(said) - length + 1)]
