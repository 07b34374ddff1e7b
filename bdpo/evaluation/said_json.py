"""JSON that a model wrote, which may loop, be cut or be none."""

import json
from typing import Any


def said_object(text: str) -> dict[str, Any] | None:
    """The fields of a JSON object, line breaks in its texts allowed; None where it is none.

    That goes for numbers that are too long to be read, and for lists too deep.
    """
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
