"""ShareGPT preference rows as LLaMA-Factory reads them: a conversation, and two ways to go on."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import labelled, optional_text, required
from bdpo.data.formats.turns import read_message, read_messages, refuse_tools, with_system
from bdpo.data.rows import Candidate, Message, RowProblem

_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
_CONVERSATIONS = ("conversations", "messages")


def parse_sharegpt(row: Mapping[str, Any]) -> Candidate:
    """A conversation, and `chosen` and `rejected`, one message each.

    The conversation is `conversations`, messages of `from` (human, gpt, system) and `value`, or in OpenAI's words
    `messages`, of `role` and `content`.  A `system` field opens it where its first message does not, as in
    LLaMA-Factory's `SharegptDatasetConverter` (hiyouga/LLaMA-Factory, src/llamafactory/data/converter.py, with the
    columns and tags of data/README.md).  Its tools, which LLaMA-Factory reads too, are refused.

    Raises:
        RowProblem: a field is missing or has another type, a side is not the assistant's, or a turn is
            a tool's or nobody's.
    """
    name = next((name for name in _CONVERSATIONS if row.get(name) is not None), _CONVERSATIONS[0])
    messages = [_spoken(message, name) for message in read_messages(required(row, name), name, **_keys(row[name]))]
    sides = []
    for side in ("chosen", "rejected"):
        message = _spoken(read_message(required(row, side), side, **_keys([row[side]])), side)
        if message["role"] != "assistant":
            raise RowProblem("does_not_end_with_assistant", f"`{side}` is not a message from the assistant")
        sides.append(message["content"])
    messages = with_system(optional_text(row, "system"), messages)
    return labelled(row, messages, *sides, read=(name, "chosen", "rejected", "system"))


def _keys(messages: Any) -> dict[str, str]:
    """How messages name speaker and text, by the first of them."""
    first = messages[0] if isinstance(messages, list) and messages else None
    by_role = isinstance(first, dict) and "from" not in first and "role" in first
    return {"role": "role", "content": "content"} if by_role else {"role": "from", "content": "value"}


def _spoken(message: Message, name: str) -> Message:
    refuse_tools(message["role"], name)
    if message["role"] not in _ROLES:
        raise RowProblem("unknown_role", f"a message of `{name}` is from none of {', '.join(_ROLES)}")
    return {"role": _ROLES[message["role"]], "content": message["content"]}
