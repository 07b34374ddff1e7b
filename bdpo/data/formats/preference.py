"""TRL's preference rows: `prompt`, `chosen` and `rejected`, plain or conversational."""

import json
import re
from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import is_gap, labelled, optional_text, required, text
from bdpo.data.formats.hh import check_answer, parse_hh
from bdpo.data.formats.turns import read_messages, user, with_system
from bdpo.data.rows import Candidate, Message, RowProblem
from bdpo.transcripts import ASSISTANT, begins_transcript, begins_with_speaker, open_turns

_MESSAGES_AS_TEXT = re.compile(r"\s*\[\s*\{")
"""How a list of messages begins that a file without lists holds as text, perhaps indented."""
_PYTHON_MESSAGES = re.compile(_MESSAGES_AS_TEXT.pattern + r"\s*'")


def holds_messages(value: Any) -> bool:
    """Whether a side is messages, as a list or as text; an answer may be a list of other objects."""
    if isinstance(value, str):
        return _MESSAGES_AS_TEXT.match(value) is not None and "role" in value and "content" in value
    return isinstance(value, list)


def parse_preference(row: Mapping[str, Any]) -> Candidate:
    """TRL's preference rows: plain strings, or lists of messages with or without a `prompt` of their own.

    The columns and the implicit prompt, what both lists begin with, are those of TRL (huggingface/trl,
    docs/source/dataset_formats.md and trl/data_utils.py); a response is one message here.  A `system` field opens the
    prompt where its first message does not.  A prompt of plain text that is a transcript of HH-RLHF up to the answer,
    as copies of that dataset have it, is its turns, with the assistant's name at its end, before both answers or left
    out.  Where both sides are whole conversations, a prompt beside them has to begin them, or as plain text to be the
    last thing asked: what they say is read, as TRL does.

    Raises:
        RowProblem: a field is missing, has another type, the sides answer different prompts, or of plain texts an
            answer is none (`check_answer`), or the prompt begins as a transcript does and is none.
    """
    chosen, rejected = _unpacked(row, "chosen"), _unpacked(row, "rejected")
    prompt = row.get("prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        messages, sides = _of_texts(row, chosen, rejected)
    else:
        turns = read_messages(chosen, "chosen"), read_messages(rejected, "rejected")
        for name, side in zip(("chosen", "rejected"), turns, strict=True):
            if side[-1]["role"] != "assistant":
                raise RowProblem("does_not_end_with_assistant", f"`{name}` does not end with an assistant message")
        if turns[0][:-1] != turns[1][:-1]:
            raise RowProblem("prompts_differ", "`chosen` and `rejected` part before their last message")
        said = turns[0][:-1]
        given = [] if not prompt or is_gap(prompt) else _prompt(row)
        if given and said and not _asks(said, given, is_text=isinstance(prompt, str)):
            raise RowProblem("prompts_differ", "`prompt` is not how `chosen` and `rejected` begin")
        messages = said or given
        sides = turns[0][-1]["content"], turns[1][-1]["content"]
    messages = with_system(optional_text(row, "system"), messages)
    return labelled(row, messages, *sides, read=("prompt", "chosen", "rejected", "system"))


def _of_texts(row: Mapping[str, Any], chosen: str, rejected: str) -> tuple[list[Message], tuple[str, str]]:
    """The prompt and the two answers of a row whose sides are plain texts."""
    prompt = row.get("prompt")
    turns = None
    if isinstance(prompt, str):
        turns, chosen, rejected = _open_turns(prompt, chosen, rejected)
    given = _prompt(row) if turns is None else turns
    if begins_transcript(chosen) and begins_transcript(rejected):
        whole = parse_hh({"chosen": chosen, "rejected": rejected})
        if not _asks(whole.prompt, given, is_text=isinstance(prompt, str)):
            raise RowProblem("prompts_differ", "`prompt` is not how `chosen` and `rejected` begin")
        return whole.prompt, (whole.chosen, whole.rejected)
    check_answer(chosen, "chosen")
    check_answer(rejected, "rejected")
    if turns is not None:
        return turns, (chosen.strip(), rejected.strip())
    if isinstance(prompt, str) and begins_with_speaker(prompt):
        raise RowProblem(
            "malformed_transcript",
            "`prompt` begins with 'Human:' or 'Assistant:', and no turn after a blank line tells whether it is a "
            "transcript; give messages",
        )
    return given, (chosen, rejected)


def _open_turns(prompt: str, chosen: str, rejected: str) -> tuple[list[Message] | None, str, str]:
    """The turns of a prompt that is a transcript, and the answers without the assistant's name that belongs to it."""
    name = ASSISTANT.lstrip()
    sides = chosen.lstrip(), rejected.lstrip()
    if all(side.startswith(name) for side in sides):
        turns = open_turns(f"{prompt}{ASSISTANT}")
        if turns and turns[-1]["role"] == "user":  # else the name stands at the end of the prompt too
            return turns, sides[0].removeprefix(name), sides[1].removeprefix(name)
    return open_turns(prompt), chosen, rejected


def _asks(said: list[Message], given: list[Message], *, is_text: bool) -> bool:
    """Whether a conversation begins with a prompt, perhaps after a system turn that the prompt leaves out.

    A prompt that is plain text may be its last turn too.  White space around a turn does not count.
    """
    said, given = ([turn | {"content": turn["content"].strip()} for turn in turns] for turns in (said, given))
    if is_text and said[-1:] == given:
        return True
    if said[0]["role"] == "system" != given[0]["role"]:
        said = said[1:]
    return said[: len(given)] == given


def _prompt(row: Mapping[str, Any]) -> list[Message]:
    prompt = _unpacked(row, "prompt")
    return read_messages(prompt, "prompt") if isinstance(prompt, list) else user(text(row, "prompt"))


def _unpacked(row: Mapping[str, Any], name: str) -> Any:
    """A field's value; messages that were written as text, as a CSV file has to, are read again.

    Raises:
        RowProblem: it is missing, or holds messages as Python prints them.
    """
    value = required(row, name)
    if not isinstance(value, str) or _MESSAGES_AS_TEXT.match(value) is None:
        return value
    if "'role':" in value and "'content':" in value and _PYTHON_MESSAGES.match(value):
        raise RowProblem("wrong_type", f"`{name}` is a list of messages as Python prints it; write it as JSON")
    try:
        messages = json.loads(value)
    except (ValueError, RecursionError):
        return value
    are_messages = all(isinstance(message, dict) and {"role", "content"} <= message.keys() for message in messages)
    return messages if are_messages else value
