"""Scoring by several machines: which sequences are whose."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from bdpo.errors import UserError
from bdpo.scoring.sequences import TokenSequence


class Share(NamedTuple):
    """One part of the work on a set of pairs.

    Whose a sequence is depends on its tokens alone.  So machines agree without a word, whatever each of
    them has scored already, and rows that are added to the data change nothing for those that were there.
    """

    number: int
    """From 1."""
    of: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """`2/4` is the second of four.

        Raises:
            UserError: it is no share.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        share = cls(int(match[1]), int(match[2])) if match else None
        if share is None or not 1 <= share.number <= share.of:
            raise UserError(f"{text!r} is no share: 2/4 is the second of four.")
        return share

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def take(self, sequences: Mapping[str, TokenSequence], null_prompt: tuple[int, ...]) -> dict[str, TokenSequence]:
        """The sequences of this share.

        Responses to one prompt stay together, for they share its computation; those to the null prompt,
        which is short and common to all pairs, are dealt out one by one.

        Args:
            sequences: of all the pairs, by key.
            null_prompt: what takes the prompt's place in the unconditional pass.
        """
        return {
            key: sequence
            for key, sequence in sequences.items()
            if _number(key if sequence.prompt_ids == null_prompt else _name(sequence.prompt_ids)) % self.of
            == self.number - 1
        }


def _name(ids: tuple[int, ...]) -> str:
    return sha256(np.asarray(ids, dtype="<i8").tobytes()).hexdigest()


def _number(digest: str) -> int:
    return int(digest[:16], 16)
