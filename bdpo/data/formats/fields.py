"""Fields of a raw row, each of the type that a format asks for or refused with a reason."""

import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from bdpo.data.rows import Candidate, Message, RowProblem, is_unicode, json_kind

_NOTHING: tuple[Any, ...] = (None, "", [], {}, "[]")
_SPELLED = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
_SAFETY = ("chosen_safe", "rejected_safe")
_LABELS = ("category", *_SAFETY)


def required(row: Mapping[str, Any], name: str) -> Any:
    """A field's value, of any type.

    Raises:
        RowProblem: it is not there, or null.
    """
    if row.get(name) is None:
        raise RowProblem("missing_field", f"`{name}` is missing")
    return row[name]


def text(row: Mapping[str, Any], name: str) -> str:
    """A field that is a string.

    Raises:
        RowProblem: it is missing or of another type.
    """
    value = required(row, name)
    if not isinstance(value, str):
        raise RowProblem("wrong_type", f"`{name}` is {json_kind(value)}, not a string")
    return value


def optional_text(row: Mapping[str, Any], name: str) -> str:
    """A field that is a string; empty where it is missing or null, or NaN as pandas writes a gap.

    Raises:
        RowProblem: it is of another type.
    """
    return "" if is_gap(row.get(name)) else text(row, name)


def is_gap(value: Any) -> bool:
    """Whether a value stands for none: null, or NaN as pandas writes a gap."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def boolean(row: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false, also as 0 and 1 or as a CSV file spells them.

    1.0 is from a column with gaps, a `Decimal` from a database.

    Raises:
        RowProblem: it is missing or says anything else.
    """
    value = required(row, name)
    if isinstance(value, str) and value.lower() in _SPELLED:
        return _SPELLED[value.lower()]
    if isinstance(value, (bool, int, float, Decimal)) and value in (0, 1):
        return bool(value)
    raise RowProblem("wrong_type", f"`{name}` is neither true nor false")


def optional_boolean(row: Mapping[str, Any], name: str) -> bool | None:
    """A field that is true or false; None where it is missing, null, NaN or an empty string.

    Raises:
        RowProblem: it says anything else.
    """
    return None if is_gap(row.get(name)) or row[name] == "" else boolean(row, name)


def number(row: Mapping[str, Any], name: str) -> int | float:
    """A field that is a finite number, also one that a CSV file spells.

    Raises:
        RowProblem: it is missing or anything else.
    """
    value = required(row, name)
    if isinstance(value, (str, Decimal)):
        with suppress(ValueError):
            value = float(value)
    finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not finite:
        raise RowProblem("wrong_type", f"`{name}` is not a finite number")
    return value


def check_text_only(row: Mapping[str, Any]) -> None:
    """Refuse a row whose prompt is more than the text of its messages.

    Raises:
        RowProblem: it has pictures, sound or tools, under the names that TRL and LLaMA-Factory give them, or wants
            its chat template told something else, as TRL does with its `chat_template_kwargs`.
    """
    for name in ("image", "images", "video", "videos", "audio", "audios"):
        if not _is_empty(row.get(name)):
            raise RowProblem("not_text", f"the row has `{name}`, and only text is read")
    if not _is_empty(row.get("tools")):
        raise RowProblem("tool_turn", "the row has `tools`, which no prompt here can show")
    told = row.get("chat_template_kwargs")
    if _is_empty(told):
        return
    if not isinstance(told, Mapping):
        raise RowProblem("wrong_type", f"`chat_template_kwargs` is {json_kind(told)}, not an object")
    for name, value in told.items():
        if _is_empty(value) or value is False:
            continue
        if name in ("tools", "xml_tools", "python_tools"):
            raise RowProblem("tool_turn", f"the row has `chat_template_kwargs.{name}`, which no prompt here can show")
        raise RowProblem(
            "template_settings",
            f"the row has `chat_template_kwargs.{name}`, and no chat template is told it here; what a prompt says has "
            "to be in its messages, and thoughts in none",
        )


def _is_empty(value: Any) -> bool:
    return is_gap(value) or value in _NOTHING


def check_unicode(*texts: str) -> None:
    """Refuse text that no UTF-8 file can hold, before anything encodes it.

    Raises:
        RowProblem: a text has lone surrogates.
    """
    if not all(map(is_unicode, texts)):
        raise RowProblem("invalid_utf8", "the text holds bytes or escapes that are not Unicode")


def labelled(
    row: Mapping[str, Any], prompt: list[Message], chosen: str, rejected: str, *, read: Collection[str]
) -> Candidate:
    """The pair of a row that may carry `category`, `chosen_safe` and `rejected_safe` besides.

    Args:
        row: its fields.
        prompt: the messages before the response.
        chosen: the better response.
        rejected: the worse response.
        read: names of the fields that prompt and responses came from; what is neither they nor a label is `meta`,
            and so is a `category` that is no text: nobody said that it is the kind of harm.

    Raises:
        RowProblem: a label of safety is of another type.
    """
    category = row.get("category")
    is_text = isinstance(category, str)
    labels = _LABELS if is_text or is_gap(category) else _SAFETY
    return Candidate(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        category=(category or None) if is_text else None,
        chosen_safe=optional_boolean(row, "chosen_safe"),
        rejected_safe=optional_boolean(row, "rejected_safe"),
        meta={name: value for name, value in row.items() if name not in read and name not in labels},
    )
