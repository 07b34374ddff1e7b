"""What an OpenAI-compatible endpoint means by an error: whether it is of one exchange, or of the settings."""

import http.client
import json
import urllib.error
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

_LARGEST = 1 << 20
"""Bytes of an error; one that repeats the request has thousands."""
_RETRIED = frozenset({408, 409, 425, 429})
"""Of those below 500; from there on all are, as 529 (Anthropic: overloaded) and 520 to 524 (Cloudflare: no answer)."""
_OF_ONE_EXCHANGE = frozenset({200, 400, 403})
"""By these a filter stops an exchange; the last is xAI's and OpenRouter's."""
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
        status: of HTTP; with 200 come errors of whoever is behind the endpoint.
        told: what the endpoint says of it, as `told_by` and `told_in` read it.
    """
    names, words = _names(told), str(told.get("message"))
    if status in _OF_ONE_EXCHANGE:
        metadata = told.get("metadata")
        flagged = isinstance(metadata, dict) and "flagged_input" in metadata  # OpenRouter
        if flagged or names & _FILTERED or any(said in words for said in _FILTERED_IN_WORDS):
            return Meaning.FILTERED
    if status in (200, 400):
        if names & _TOO_LONG or _TOO_LONG_IN_WORDS in words:
            return Meaning.TOO_LONG
        if told.get("param") == "temperature" or "temperature" in words.lower():  # OpenAI; Claude, LiteLLM
            return Meaning.NO_TEMPERATURE
    return Meaning.PASSING if status in _RETRIED or status == 200 or status >= 500 else Meaning.REFUSED


def told_by(error: urllib.error.HTTPError) -> Mapping[str, Any]:
    """What the body of an error says of it: its `error`, or itself where it is one; empty where there is none."""
    try:
        body = json.loads(error.read(_LARGEST))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return {}
    if isinstance(body, dict) and body.get("object") == "error":  # as vLLM's was
        return body
    return _error_of(body)


def told_in(answer: object) -> Mapping[str, Any] | None:
    """What an answer of HTTP 200 says went wrong, as OpenRouter's do; None where nothing did.

    What the model had said until then may stand beside it, and is no answer.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    for told in (_error_of(answer), _error_of(choice)):
        if told:
            return told
    broken_off = isinstance(choice, dict) and choice.get("finish_reason") == "error"
    return {"message": "the answer was broken off"} if broken_off else None


def _error_of(body: object) -> Mapping[str, Any]:
    """The field `error`; empty where there is none."""
    told = body.get("error") if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(told, str) and told:  # xAI's
        return {"message": told, "code": body.get("code")}
    return told if isinstance(told, dict) else {}


def _names(told: Mapping[str, Any]) -> set[str]:
    """What an error calls itself."""
    inner = told.get("innererror")
    names = [told.get("code"), told.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return {name for name in names if isinstance(name, str)}
