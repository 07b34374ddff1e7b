"""Identities and splits that stay when rows are added."""

import hashlib
import json
from typing import NamedTuple

from bdpo.data.rows import Candidate

_ID_LENGTH = 24
_SHARES = 2**64


class PairIdentity(NamedTuple):
    """What a pair is called and where it belongs."""

    prompt_id: str
    """Digest of the messages before the response."""
    pair_id: str
    """Digest of prompt, chosen and rejected response."""
    unordered_id: str
    """Digest of prompt and the two responses whichever is preferred: the same for contradictory labels."""
    split: str
    """`train` or `validation`, by the prompt alone, so that a prompt never lies in both."""


def identify(pair: Candidate, *, validation_fraction: float, seed: int) -> PairIdentity:
    """Digest a pair; its texts are written as JSON once.

    Args:
        pair: the pair.
        validation_fraction: expected share of prompts that are held out.
        seed: another seed holds out other prompts.
    """
    prompt, chosen, rejected = json.dumps(pair.prompt), json.dumps(pair.chosen), json.dumps(pair.rejected)
    pair_id = _digest(prompt, chosen, rejected)[:_ID_LENGTH]
    swapped = pair.rejected < pair.chosen
    unordered_id = _digest(prompt, rejected, chosen)[:_ID_LENGTH] if swapped else pair_id
    split = "validation" if _share(str(seed), prompt) < validation_fraction else "train"
    return PairIdentity(_digest(prompt)[:_ID_LENGTH], pair_id, unordered_id, split)


def share_of(*values: str | int) -> float:
    """A number in [0, 1) that is evenly spread over values and always the same for the same ones."""
    return _share(*(json.dumps(value) for value in values))


def _share(*written: str) -> float:
    return int(_digest(*written)[:16], 16) / _SHARES


def _digest(*written: str) -> str:
    """SHA-256 of a JSON list of values that are written already."""
    return hashlib.sha256(f"[{', '.join(written)}]".encode()).hexdigest()
