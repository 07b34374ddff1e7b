"""Exact rules for answers to questions."""

import re
import unicodedata

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def is_right(completion: str, answer: str) -> bool:
    """Whether a completion gives the answer.

    A number must be the last number of the completion (GSM8K's rule, thousands separators and
    trailing zeros apart); of any other answer the words must stand in the completion, in their order.
    """
    wanted = _number(answer)
    if wanted is not None:
        found = _NUMBER.findall(completion)
        return bool(found) and _number(found[-1]) == wanted
    words = _words(answer)
    return bool(words) and f" {words} " in f" {_words(completion)} "


def _number(text: str) -> float | None:
    match = _NUMBER.fullmatch(text.strip().removeprefix("$"))
    return float(match.group().replace(",", "")) if match else None


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.lower())
    return " ".join(re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c))))
