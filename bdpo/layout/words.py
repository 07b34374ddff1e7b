"""Where a text can be cut so that what comes before has the same tokens alone, and what tokens tell of a text."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

_LONGEST = 48
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_PATTERNS = frozenset((_GPT2, _LLAMA3, _LLAMA3.replace("{1,3}", "")))
"""Of GPT-2, of Llama 3 and of Qwen 2.  No match holds a space after a character that is not white space, and only
runs of white space look at what follows: so a match ends before every such space, whatever comes next."""


def first_word(text: str) -> str | None:
    """The beginning of a text up to a space after some other character; None where it is not near.

    With a tokenizer that `splits_at_spaces`, the tokens of what precedes the text, followed by this beginning,
    are the first tokens of the whole.
    """
    end = text.find(" ", 1, _LONGEST)
    return None if end < 0 or text[end - 1].isspace() else text[:end]


def splits_at_spaces(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the text before and the text after a space are tokenised apart, if no white space precedes it.

    Shown for fast tokenizers that at most bring the text to NFC, which leaves spaces alone, that split it by one of
    the patterns known here, digit by digit or as bytes, and none of whose added tokens holds such a space.
    """
    if not tokenizer.is_fast:
        return False
    core: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if (core["normalizer"] or {"type": "NFC"})["type"] != "NFC" or core["model"].get("dropout") is not None:
        return False
    steps = list(_steps(core["pre_tokenizer"]))
    if not all(map(_keeps_words, steps)) or not any(map(_is_pattern, steps)):
        return False
    if any(step["type"] == "ByteLevel" for step in steps[:-1]):
        return False  # what follows would see bytes where the pattern means letters
    return not any(_holds_space(token["content"]) for token in core["added_tokens"])


def lost_bytes(tokenizer: PreTrainedTokenizerBase) -> bytes | None:
    """The bytes for which there is no token: without these, texts in NFC that have the same tokens are the same.

    Shown for tokenizers that `splits_at_spaces`, that then have a token for a byte and none for what is not there, and
    none of whose added tokens takes white space beside it along; None where it is not shown.
    """
    core: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    model = core["model"]
    if model["type"] != "BPE" or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        return None
    if not any(step["type"] == "ByteLevel" for step in _steps(core["pre_tokenizer"])):
        return None
    if any(token["lstrip"] or token["rstrip"] for token in core["added_tokens"]):
        return None
    # A byte that is a printable character of Latin-1 stands for itself, the others in order for those from 256 on.
    letters = sorted(ByteLevel.alphabet())
    others = (byte for byte in range(256) if chr(byte) not in letters)
    meant = {letter: ord(letter) if ord(letter) < 256 else next(others) for letter in letters}
    return bytes(byte for letter, byte in meant.items() if letter not in model["vocab"])


def _steps(pre_tokenizer: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if pre_tokenizer is not None and pre_tokenizer["type"] == "Sequence":
        for inner in pre_tokenizer["pretokenizers"]:
            yield from _steps(inner)
    elif pre_tokenizer is not None:
        yield pre_tokenizer


def _keeps_words(step: dict[str, Any]) -> bool:
    """Whether a step neither joins, drops nor adds anything, and splits without a look beyond such a space."""
    match step["type"]:
        case "ByteLevel":
            return not step["add_prefix_space"]
        case "Digits":
            return True
        case "Split":
            return _is_pattern(step) and step["behavior"] == "Isolated" and not step["invert"]
    return False


def _is_pattern(step: dict[str, Any]) -> bool:
    if step["type"] == "ByteLevel":
        return bool(step["use_regex"])
    return step["type"] == "Split" and step["pattern"].get("Regex") in _PATTERNS


def _holds_space(text: str) -> bool:
    return any(not before.isspace() and after == " " for before, after in pairwise(text))
