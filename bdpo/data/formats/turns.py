"""Messages as formats spell them, and the order in which they have to come."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.rows import Message, RowProblem, json_kind

_TOOLS = ("tool", "function", "function_call", "observation", "ipython")
_SPEAKERS = ("system", "user", "assistant")


def user(content: str) -> list[Message]:
    """A prompt of one turn."""
    return [{"role": "user", "content": content}]


def read_messages(value: Any, name: str, *, role: str = "role", content: str = "content") -> list[Message]:
    """A list of objects, each with a role and a text.

    Args:
        value: what the row holds.
        name: the field, for the reason of a refusal.
        role: the key of a message's role.
        content: the key of a message's text.

    Raises:
        RowProblem: it is no list, an empty one, or a message lacks either.
    """
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else json_kind(value)
        wanted = "a list of messages" if isinstance(value, str) else "a string or a list of messages"
        raise RowProblem("wrong_type", f"`{name}` is {found}, not {wanted}")
    return [read_message(message, name, role=role, content=content) for message in value]


def read_message(value: Any, name: str, *, role: str = "role", content: str = "content") -> Message:
    """One object with a role and a text, which may come as a list of parts `{"type": "text", "text": ...}`.

    Raises:
        RowProblem: it is no such object, or has something else than text.
    """
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
    speaker, said = fields.get(role), fields.get(content)
    if isinstance(speaker, str):
        refuse_tools(speaker, name, has_calls=bool(fields.get("tool_calls") or fields.get("function_call")))
    if isinstance(said, list) and said:
        said = "".join(_text_of(part, name) for part in said)
    if not isinstance(speaker, str) or not isinstance(said, str):
        raise RowProblem("wrong_type", f"a message of `{name}` lacks a `{role}` or a `{content}` that is a string")
    return {"role": speaker, "content": said}


def _text_of(part: Any, name: str) -> str:
    fields: Mapping[str, Any] = part if isinstance(part, dict) else {}
    said = fields.get("text")
    if fields.get("type") == "text" and isinstance(said, str):
        return said
    raise RowProblem("not_text", f"a message of `{name}` has a part that is no text")


def refuse_tools(speaker: str, name: str, *, has_calls: bool = False) -> None:
    """Refuse a turn that is a tool's.

    Raises:
        RowProblem: the speaker is a tool, or the message calls one.
    """
    if has_calls or speaker in _TOOLS:
        raise RowProblem("tool_turn", f"a message of `{name}` is a tool's call or its result")


def with_system(system: str, messages: list[Message]) -> list[Message]:
    """The messages after a system turn, where there is one to add and they do not begin with their own."""
    if not system or (messages and messages[0]["role"] == "system"):
        return messages
    return [{"role": "system", "content": system}, *messages]


def check_roles(prompt: list[Message]) -> None:
    """Refuse a prompt whose turns do not go (system,) user, assistant, user ... user.

    Raises:
        RowProblem: they do not.
    """
    roles = [message["role"] for message in prompt]
    if any(role not in _SPEAKERS for role in roles):
        raise RowProblem("unknown_role", f"a message of the prompt is from none of {', '.join(_SPEAKERS)}")
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns:
        raise RowProblem("empty_prompt", "there is no user turn before the response")
    if turns[-1] != "user":
        raise RowProblem("roles_do_not_alternate", "the prompt does not end with a user turn")
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns)):
        raise RowProblem("roles_do_not_alternate", "user and assistant turns do not alternate")
