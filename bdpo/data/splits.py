"""Identities and splits that stay when rows are added."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from bdpo.data.rows import Candidate, Message

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
    """`train` or `validation`, by the prompt alone, so that a prompt never lies in both, also where white space
    around its messages differs."""


def identify(pair: Candidate, *, validation_fraction: float, seed: int) -> PairIdentity:
    """Digest a pair: SHA-256 of JSON lists, as `json.dumps` writes them.

    Args:
        pair: the pair.
        validation_fraction: expected share of prompts that are held out.
        seed: another seed holds out other prompts.
    """
    prompt = _written_prompt(pair.prompt)
    chosen, rejected = _written(pair.chosen), _written(pair.rejected)
    begun = hashlib.sha256(b"[" + prompt)
    pair_id = _ended(begun, b", %b, %b]" % (chosen, rejected))
    swapped = pair.rejected < pair.chosen
    unordered_id = _ended(begun, b", %b, %b]" % (rejected, chosen)) if swapped else pair_id
    bare = [message | {"content": message["content"].strip()} for message in pair.prompt]
    decides = prompt if bare == pair.prompt else _written_prompt(bare)
    share = _share(hashlib.sha256(b"[%d, %b]" % (seed, decides)))
    split = "validation" if share < validation_fraction else "train"
    return PairIdentity(_ended(begun, b"]"), pair_id, unordered_id, split)


def share_of(*values: str | int) -> float:
    """A number in [0, 1) that is evenly spread over values and always the same for the same ones."""
    return _share(hashlib.sha256(json.dumps(values).encode()))


def _share(digest: "hashlib._Hash") -> float:
    return int.from_bytes(digest.digest()[:8]) / _SHARES


def _ended(begun: "hashlib._Hash", rest: bytes) -> str:
    digest = begun.copy()
    digest.update(rest)
    return digest.hexdigest()[:_ID_LENGTH]


def _written(text: str) -> bytes:
    """A string as `json.dumps` writes it; of plain text `orjson` writes the same, fifty times faster."""
    if text.isascii() and "\x7f" not in text:
        return orjson.dumps(text)
    return json.dumps(text).encode()


def _written_prompt(messages: Iterable[Message]) -> bytes:
    return b"[" + b", ".join(map(_written_message, messages)) + b"]"


def _written_message(message: Message) -> bytes:
    return b'{"role": %b, "content": %b}' % (_written(message["role"]), _written(message["content"]))
