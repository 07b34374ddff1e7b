"""The names of scores: what was scored, and by what."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bdpo.artifacts.digest import digest_value
from bdpo.config import ModelSettings
from bdpo.models.source import ModelSource
from bdpo.versions import LOGPROBS


@dataclass(frozen=True)
class Scorer:
    """Everything besides the tokens that a log-prob depends on."""

    weights_digest: str
    """Content of the weights and the model's config, as on disk."""
    dtype: str
    """Arithmetic, `float32` or `bfloat16`."""
    attention: str
    """Attention implementation."""
    trust_remote_code: bool
    """Whether Python code beside the weights computes, where the model has such code."""
    compiled: bool
    """Whether the model's layers are compiled."""

    @classmethod
    def of(cls, source: ModelSource, settings: ModelSettings) -> "Scorer":
        """A reference model with a run's settings."""
        return cls(
            weights_digest=source.weights_digest,
            dtype=settings.dtype,
            attention=settings.attention,
            trust_remote_code=settings.trust_remote_code,
            compiled=settings.compile,
        )

    @property
    def digest(self) -> str:
        """Hexadecimal name of this scorer, the version of the log-prob path included."""
        return digest_value(
            {
                "weights": self.weights_digest,
                "dtype": self.dtype,
                "attention": self.attention,
                "trust_remote_code": self.trust_remote_code,
                "compiled": self.compiled,
                "logprobs": LOGPROBS,
            }
        )


def sequence_key(prompt_ids: Sequence[int], response_ids: Sequence[int], scorer_digest: str) -> str:
    """SHA-256, in hexadecimal, of a sequence's token ids, its response mask and its scorer.

    The response mask of `[prompt | response]` is given by the prompt's length.
    """
    ids = np.asarray([len(prompt_ids), *prompt_ids, *response_ids], dtype="<i8")
    return hashlib.sha256(scorer_digest.encode() + b"\n" + ids.tobytes()).hexdigest()
