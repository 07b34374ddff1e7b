"""What an OpenAI-compatible endpoint means by an error: whether it is of one exchange, or of the settings."""

import http.client
import json
import urllib.error
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

_LARGEST = 1 << 20
"""Bytes of an error; one that repeats the request has thousands."""
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_OF_ONE_EXCHANGE = frozenset({400, 403})
"""By these a filter stops an exchange; the second is xAI's and OpenRouter's."""
_FILTERED = frozenset(
    {
        "content_filter",  # Azure
        "ResponsibleAIPolicyViolation",  # Azure, within
        "content_policy_violation",
        "invalid_prompt",  # OpenAI: flagged by its usage policy
        "data_inspection_failed",  # DashScope
    }
)
_FILTERED_IN_WORDS = (
    "Content Exists Risk",  # DeepSeek
    "ContentPolicyViolationError",  # LiteLLM, whoever is behind it
    "DataInspectionFailed",  # DashScope, through others
    "violates usage guidelines",  # xAI
)
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # the second is llama.cpp's
_TOO_LONG_IN_WORDS = "context length"
"""What vLLM, SGLang and Together say in words alone; no answer's length is asked for, so it is the exchange's."""


class Meaning(Enum):
    """What is to be done about an error."""

    FILTERED = auto()
    """A filter stops this exchange; others may well be answered."""
    TOO_LONG = auto()
    """This exchange is longer than the model's context."""
    NO_TEMPERATURE = auto()
    """The model takes none."""
    PASSING = auto()
    """The same may be answered later."""
    REFUSED = auto()
    """By the settings, so whatever else were asked."""


def meaning_of(status: int, told: Mapping[str, Any]) -> Meaning:
    """What an error means.

    Args:
        status: of HTTP.
        told: what the endpoint says of it, as `told_by` reads it.
    """
    names, words = _names(told), str(told.get("message"))
    if status in _OF_ONE_EXCHANGE:
        metadata = told.get("metadata")
        flagged = isinstance(metadata, dict) and "flagged_input" in metadata  # OpenRouter
        if flagged or names & _FILTERED or any(said in words for said in _FILTERED_IN_WORDS):
            return Meaning.FILTERED
    if status == 400:
        if names & _TOO_LONG or _TOO_LONG_IN_WORDS in words:
            return Meaning.TOO_LONG
        if told.get("param") == "temperature":
            return Meaning.NO_TEMPERATURE
    return Meaning.PASSING if status in _RETRIED else Meaning.REFUSED


def told_by(error: urllib.error.HTTPError) -> Mapping[str, Any]:
    """What the body of an error says of it: its `error`, or itself where it is one; empty where there is none."""
    try:
        body = json.loads(error.read(_LARGEST))
        told = body if body.get("object") == "error" else body["error"]  # as vLLM's was
        if isinstance(told, str):  # xAI's
            return {"message": told, "code": body.get("code")}
    except (OSError, http.client.HTTPException, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _names(told: Mapping[str, Any]) -> set[str]:
    """What an error calls itself."""
    inner = told.get("innererror")
    names = [told.get("code"), told.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return {name for name in names if isinstance(name, str)}
