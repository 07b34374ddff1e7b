"""Identities and splits that stay when rows are added."""

import hashlib
import json
from collections.abc import Sequence

from bdpo.data.rows import Candidate, Message

_ID_LENGTH = 24
_SHARES = 2**64


def prompt_id(prompt: Sequence[Message]) -> str:
    """Digest of the messages before the response."""
    return _digest(list(prompt))[:_ID_LENGTH]


def pair_id(pair: Candidate) -> str:
    """Digest of prompt, chosen and rejected response."""
    return _digest([pair.prompt, pair.chosen, pair.rejected])[:_ID_LENGTH]


def unordered_id(pair: Candidate) -> str:
    """Digest of prompt and the two responses whichever is preferred: the same for contradictory labels."""
    return _digest([pair.prompt, *sorted((pair.chosen, pair.rejected))])[:_ID_LENGTH]


def split_of(prompt: Sequence[Message], *, validation_fraction: float, seed: int) -> str:
    """`train` or `validation`, by the prompt alone, so that a prompt never lies in both.

    Args:
        prompt: the messages before the response.
        validation_fraction: expected share of prompts that are held out.
        seed: another seed holds out other prompts.
    """
    return "validation" if share_of([seed, list(prompt)]) < validation_fraction else "train"


def share_of(value: object) -> float:
    """A number in [0, 1) that is evenly spread over values and always the same for one (any JSON value)."""
    return int(_digest(value)[:16], 16) / _SHARES


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()
