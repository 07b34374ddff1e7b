"""Identities and splits that stay when rows are added."""

import hashlib
import json
from collections.abc import Sequence

from bdpo.data.rows import Candidate, Message

_ID_LENGTH = 24
_SHARES = 2**64


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
    share = int(_digest([seed, list(prompt)])[:16], 16) / _SHARES
    return "validation" if share < validation_fraction else "train"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()
