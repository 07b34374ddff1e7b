"""What judges are asked, word by word as their authors published it: `judge_templates.json`."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_TEMPLATES = Path(__file__).with_suffix(".json")


@cache
def templates() -> Mapping[str, Mapping[str, str]]:
    """Name to `template`, `source` and `licence`; StrongREJECT's rubric has a `system` message besides."""
    loaded: Mapping[str, Mapping[str, str]] = json.loads(_TEMPLATES.read_text(encoding="utf-8"))
    return loaded


def fill(name: str, **fields: str) -> str:
    """A template with its fields `{prompt}`, `{completion}`, `{context}`, which may hold braces themselves."""
    return re.sub(r"\{(\w+)\}", lambda field: fields[field[1]], templates()[name]["template"])
