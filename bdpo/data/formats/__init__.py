"""The shapes in which preference data comes: a row's fields to a candidate pair."""

from collections.abc import Callable, Mapping
from typing import Any

from bdpo.config.ingest import DataFormat
from bdpo.data.formats.alpaca import parse_alpaca
from bdpo.data.formats.hh import parse_hh
from bdpo.data.formats.pku import PKU_COLUMNS, SINGLE_COLUMNS, parse_pku, parse_pku_better, parse_pku_safer
from bdpo.data.formats.preference import holds_messages, parse_preference
from bdpo.data.formats.sharegpt import parse_sharegpt
from bdpo.data.formats.ultrafeedback import parse_ultrafeedback
from bdpo.data.rows import Candidate
from bdpo.transcripts import as_written, is_transcript

DESCRIPTIONS: Mapping[DataFormat, str] = {
    "hh": "`chosen` and `rejected` as whole '\\n\\nHuman: ... \\n\\nAssistant: ...' transcripts",
    "pku": ", ".join(PKU_COLUMNS),
    "pku_safer": "as `pku`, by `safer_response_id` alone, with or without the two safety labels",
    "pku_better": "as `pku_safer`, by `better_response_id` alone",
    "preference": "`prompt`, `chosen`, `rejected` as strings or lists of messages",
    "sharegpt": "`conversations` or `messages`, and `chosen` and `rejected` as one message",
    "alpaca": "`instruction`, `input`, `chosen`, `rejected` as strings",
    "ultrafeedback": "`chosen` and `rejected` as lists of messages, `prompt` or not, `score_chosen`, `score_rejected`",
    "beavertails": "`prompt`, `response`, `is_safe`, `category`",
}

PARSERS: Mapping[DataFormat, Callable[[Mapping[str, Any]], Candidate]] = {
    "hh": parse_hh,
    "pku": parse_pku,
    "pku_safer": parse_pku_safer,
    "pku_better": parse_pku_better,
    "preference": parse_preference,
    "sharegpt": parse_sharegpt,
    "alpaca": parse_alpaca,
    "ultrafeedback": parse_ultrafeedback,
}
"""The formats whose rows are a pair each; `beavertails` has single responses and is paired on its own."""


def detect_format(row: Mapping[str, Any]) -> DataFormat | None:
    """The format that a row's columns have; None where it is none that is known."""
    if all(name in row for name in PKU_COLUMNS):
        return "pku"
    if all((name in row) == (name in SINGLE_COLUMNS) for name in PKU_COLUMNS):
        return "pku_better"
    if all(name in row for name in ("prompt", "response", "is_safe", "category")):
        return "beavertails"
    if "chosen" not in row or "rejected" not in row:
        return None
    chosen = row["chosen"]
    if holds_messages(chosen):
        return "ultrafeedback" if "score_chosen" in row and "score_rejected" in row else "preference"
    if "prompt" in row:
        return "preference"
    if isinstance(chosen, dict):
        return "sharegpt" if "conversations" in row or "messages" in row else None
    if isinstance(chosen, str):
        return "hh" if is_transcript(as_written(chosen)) else "alpaca" if "instruction" in row else None
    return None
