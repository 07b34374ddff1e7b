"""ShareGPT preference rows as LLaMA-Factory reads them: a conversation, and two ways to go on."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import labelled, optional_text, required
from bdpo.data.formats.turns import read_message, read_messages, with_system
from bdpo.data.rows import Candidate, Message, RowProblem

_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
_TOOLS = ("function_call", "observation")


def parse_sharegpt(row: Mapping[str, Any]) -> Candidate:
    """`conversations` (messages of `from` and `value`), and `chosen` and `rejected`, one message each.

    A `system` field opens the conversation where its first message does not, as in LLaMA-Factory's
    `SharegptDatasetConverter`.

    Raises:
        RowProblem: a field is missing or has another type, a side is not the assistant's, or a turn is
            a tool's or nobody's.
    """
    said = read_messages(required(row, "conversations"), "conversations", role="from", content="value")
    messages = [_spoken(message, "conversations") for message in said]
    sides = [
        _spoken(read_message(required(row, name), name, role="from", content="value"), name)
        for name in ("chosen", "rejected")
    ]
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if side["role"] != "assistant":
            raise RowProblem("does_not_end_with_assistant", f"`{name}` is not a message from gpt")
    return labelled(
        row,
        with_system(optional_text(row, "system"), messages),
        sides[0]["content"],
        sides[1]["content"],
        read=("conversations", "chosen", "rejected", "system"),
    )


def _spoken(message: Message, name: str) -> Message:
    if message["role"] in _TOOLS:
        raise RowProblem("tool_turn", f"a message of `{name}` is a tool's call or its result")
    if message["role"] not in _ROLES:
        raise RowProblem("unknown_role", f"a message of `{name}` is from none of {', '.join(_ROLES)}")
    return {"role": _ROLES[message["role"]], "content": message["content"]}
