"""The shapes in which preference data comes: a row's fields to a candidate pair."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from bdpo.data.rows import Candidate, Message, RowProblem

Format = Literal["hh", "pku", "preference"]

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}
_PKU = (
    "prompt",
    "response_0",
    "response_1",
    "is_response_0_safe",
    "is_response_1_safe",
    "better_response_id",
    "safer_response_id",
)
_KNOWN = {"prompt", "chosen", "rejected", "category", "chosen_safe", "rejected_safe"}

DESCRIPTIONS: Mapping[Format, str] = {
    "hh": "`chosen` and `rejected` as whole '\\n\\nHuman: ... \\n\\nAssistant: ...' transcripts",
    "pku": ", ".join(_PKU),
    "preference": "`prompt`, `chosen`, `rejected` as strings or lists of messages",
}


def detect_format(row: Mapping[str, Any]) -> Format | None:
    """The format that a row's columns have; None where it is none that is known."""
    if all(name in row for name in _PKU):
        return "pku"
    if "chosen" not in row or "rejected" not in row:
        return None
    if "prompt" in row:
        return "preference"
    chosen = row["chosen"]
    if isinstance(chosen, str):
        return "hh" if _HH_TURN.search(chosen) else None
    return "preference" if isinstance(chosen, list) else None


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


def parse_pku(row: Mapping[str, Any]) -> Candidate:
    """PKU-SafeRLHF: two responses with a safety label each, a safer and a better one.

    Where one response is safe and the other is not, the safe one is chosen; where both are safe, the
    better; where neither is, the safer.

    Raises:
        RowProblem: a field is missing or has another type.
    """
    prompt = _text(row, "prompt")
    responses = _text(row, "response_0"), _text(row, "response_1")
    safe = _boolean(row, "is_response_0_safe"), _boolean(row, "is_response_1_safe")
    better, safer = _side(row, "better_response_id"), _side(row, "safer_response_id")
    chosen = safe.index(True) if safe[0] != safe[1] else better if safe[0] else safer
    return Candidate(
        prompt=[{"role": "user", "content": prompt}],
        chosen=responses[chosen],
        rejected=responses[1 - chosen],
        chosen_safe=safe[chosen],
        rejected_safe=safe[1 - chosen],
        meta={name: value for name, value in row.items() if name not in ("prompt", "response_0", "response_1")},
    )


def parse_preference(row: Mapping[str, Any]) -> Candidate:
    """TRL's preference rows: plain strings, or lists of messages with or without a `prompt` of their own.

    Raises:
        RowProblem: a field is missing, has another type, or the sides answer different prompts.
    """
    chosen, rejected = _field(row, "chosen"), _field(row, "rejected")
    prompt = row.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        messages = _prompt(row)
        sides = chosen, rejected
    else:
        turns = _messages(chosen, "chosen"), _messages(rejected, "rejected")
        for name, side in zip(("chosen", "rejected"), turns, strict=True):
            if side[-1]["role"] != "assistant":
                raise RowProblem("does_not_end_with_assistant", f"`{name}` does not end with an assistant message")
        if turns[0][:-1] != turns[1][:-1]:
            raise RowProblem("prompts_differ", "`chosen` and `rejected` part before their last message")
        said = turns[0][:-1]
        given = _prompt(row) if prompt else []
        if given and said and said[: len(given)] != given:
            raise RowProblem("prompts_differ", "`prompt` is not how `chosen` and `rejected` begin")
        messages = said or given
        sides = turns[0][-1]["content"], turns[1][-1]["content"]
    category = row.get("category")
    if category is not None and not isinstance(category, str):
        raise RowProblem("wrong_type", f"`category` is {type(category).__name__}, not a string")
    return Candidate(
        prompt=messages,
        chosen=sides[0],
        rejected=sides[1],
        category=category or None,
        chosen_safe=_optional_boolean(row, "chosen_safe"),
        rejected_safe=_optional_boolean(row, "rejected_safe"),
        meta={name: value for name, value in row.items() if name not in _KNOWN},
    )


PARSERS: Mapping[Format, Callable[[Mapping[str, Any]], Candidate]] = {
    "hh": parse_hh,
    "pku": parse_pku,
    "preference": parse_preference,
}


def check_roles(prompt: list[Message]) -> None:
    """Refuse a prompt whose turns do not go (system,) user, assistant, user ... user.

    Raises:
        RowProblem: they do not.
    """
    roles = [message["role"] for message in prompt]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns:
        raise RowProblem("empty_prompt", "there is no user turn before the response")
    if turns[-1] != "user":
        raise RowProblem("roles_do_not_alternate", "the prompt does not end with a user turn")
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns)):
        raise RowProblem("roles_do_not_alternate", "user and assistant turns do not alternate")


def _transcript(row: Mapping[str, Any], name: str) -> list[Message]:
    parts = _HH_TURN.split(_text(row, name))
    if len(parts) < 3 or parts[0].strip():
        raise RowProblem("malformed_transcript", f"`{name}` does not begin with '\\n\\nHuman:' or '\\n\\nAssistant:'")
    turns = [
        {"role": _HH_ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if turns[-1]["role"] != "assistant":
        raise RowProblem("does_not_end_with_assistant", f"`{name}` does not end with an assistant turn")
    return turns


def _prompt(row: Mapping[str, Any]) -> list[Message]:
    prompt = row.get("prompt")
    return _messages(prompt, "prompt") if isinstance(prompt, list) else _user(_text(row, "prompt"))


def _user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _messages(value: Any, name: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise RowProblem("wrong_type", f"`{name}` is neither a string nor a list of messages")
    messages = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(role, str) or not isinstance(content, str):
            raise RowProblem("wrong_type", f"a message of `{name}` lacks a `role` or a `content` that is a string")
        messages.append({"role": role, "content": content})
    return messages


def _field(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise RowProblem("missing_field", f"`{name}` is missing")
    return row[name]


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _field(row, name)
    if not isinstance(value, str):
        raise RowProblem("wrong_type", f"`{name}` is {type(value).__name__}, not a string")
    return value


def _boolean(row: Mapping[str, Any], name: str) -> bool:
    value = _field(row, name)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise RowProblem("wrong_type", f"`{name}` is neither true nor false")


def _optional_boolean(row: Mapping[str, Any], name: str) -> bool | None:
    return None if row.get(name) in (None, "") else _boolean(row, name)


def _side(row: Mapping[str, Any], name: str) -> int:
    value = _field(row, name)
    if value in (0, 1, "0", "1") and not isinstance(value, (bool, float)):
        return int(value)
    raise RowProblem("wrong_type", f"`{name}` is neither 0 nor 1")
