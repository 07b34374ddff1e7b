"""Anthropic's HH-RLHF: each side is a whole transcript."""

import re
from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import text
from bdpo.data.rows import Candidate, Message, RowProblem

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(value: str) -> bool:
    """Whether a text has a turn of a transcript in it."""
    return _TURN.search(value) is not None


def parse_hh(row: Mapping[str, Any]) -> Candidate:
    """Anthropic HH-RLHF: two transcripts that part at the last assistant turn.

    Raises:
        RowProblem: a field is missing, a transcript has no such turns, or the prompts differ.
    """
    chosen, rejected = _transcript(row, "chosen"), _transcript(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise RowProblem("prompts_differ", "the two transcripts part before the last assistant turn")
    meta = {name: value for name, value in row.items() if name not in ("chosen", "rejected")}
    return Candidate(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"], meta=meta)


def _transcript(row: Mapping[str, Any], name: str) -> list[Message]:
    parts = _TURN.split(text(row, name))
    if len(parts) < 3 or parts[0].strip():
        raise RowProblem("malformed_transcript", f"`{name}` does not begin with '\\n\\nHuman:' or '\\n\\nAssistant:'")
    turns = [
        {"role": _ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if turns[-1]["role"] != "assistant":
        raise RowProblem("does_not_end_with_assistant", f"`{name}` does not end with an assistant turn")
    return turns
