"""Exact rules for answers to questions."""

import re
import unicodedata

_NUMBER = re.compile(
    r"(?:(?<![\w)\]])[-\u2212])?"  # a minus; after a digit, a letter or a bracket it is a dash or subtracts
    r"[$\u20ac\u00a3]?"
    r"(?:(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)(?:\.\d+)?"
    r"|(?<![\w.)])\.\d+)"  # `.5`, as GSM8K's own solutions have it
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\[,!;: ]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
"""Separators that are no comma: of LaTeX, as models trained on mathematics write, and narrow spaces."""
_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_DAY_FIRST = re.compile(
    r"\b(\d{1,2}) (?:of )?"
    r"(january|february|march|april|may|june|july|august|september|october|november|december)\b"
)
_SIGNS = str.maketrans({"\u2212": "-", ",": None, "$": None, "\u20ac": None, "\u00a3": None})


def last_number_is(completion: str, answer: str) -> bool:
    """Whether the last number of a completion is the answer: GSM8K's rule.

    Signs of currency, thousands separators and trailing zeros do not count.

    Args:
        completion: what the model said.
        answer: as of `is_number`.
    """
    found = _numbers(completion)
    return bool(found) and found[-1] == _value(answer)


def is_number(answer: str) -> bool:
    """Whether an answer is one number and nothing else."""
    return _NUMBER.fullmatch(answer) is not None


def stands_in(completion: str, answer: str) -> bool:
    """Whether the words of an answer stand in a completion, in their order; a number, with its value.

    Case, accents, punctuation, thousands separators, `st` to `th` after a day and its place beside the month do not
    count.
    """
    answer = answer.strip()
    if is_number(answer):
        return _value(answer) in _numbers(completion)
    words = _words(answer)
    return bool(words) and f" {words} " in f" {_words(completion)} "


def _numbers(text: str) -> list[float]:
    return [_value(number) for number in _NUMBER.findall(_THOUSANDS.sub("", text))]


def _value(number: str) -> float:
    return float(number.translate(_SIGNS))


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKD", _THOUSANDS.sub("", text).lower())
    plain = _ORDINAL.sub("", _COMMA.sub("", "".join(c for c in plain if not unicodedata.combining(c))))
    return _DAY_FIRST.sub(r"\2 \1", " ".join(re.findall(r"\w+", plain)))
