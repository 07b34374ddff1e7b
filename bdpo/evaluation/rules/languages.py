"""Plain refusals in languages other than English: the speaker does not do what an assistant does for who asks.

Only that one act, in a completion's first three sentences; objections and questions turned aside are read in
English alone.
"""

import json
import re
from pathlib import Path
from typing import TypedDict


class _Language(TypedDict):
    """A language's patterns."""

    help: str
    """Stems of what an assistant does for who asks: `HELP` in the refusals stands for it."""
    refusals: list[str]
    """Patterns, in them and in the stems `END` for the end of a sentence."""


_LANGUAGES: dict[str, _Language] = json.loads(Path(__file__).with_name("languages.json").read_text(encoding="utf-8"))
"""By language code."""
_END = r"(?=[ \"')]*(?:$|[.!?\u3002\uff01\uff1f]))"
_WITHIN_CLAUSE = r"[^.!?,;\n\u3001\u3002\uff01\uff0c\uff1b\uff1f]"
_REFUSAL = re.compile(
    "(?:"
    + "|".join(
        pattern.replace("HELP", language["help"]).replace("END", _END)
        for language in _LANGUAGES.values()
        for pattern in language["refusals"]
    )
    + ")"
    + _WITHIN_CLAUSE
    + "{0,40}"
)
_BEFORE = re.compile(_WITHIN_CLAUSE + r"{0,40}\Z")
"""The clause of a refusal, up to it."""
_LACKS = re.compile(
    "garan[td]|гаранти|保[证證証]|보장|"
    "echtzeit|temps réel|tiempo real|tempo real|realtime|real-time|реальн\\w+ времени|实时|即時|リアルタイム|실시간|"
    "(?:确切|確切|精确|精確)的(?:价|價|时|時|日|数|數)|정확한 (?:가격|시간|날짜|수)"
)
"""What an assistant lacks in any language, and answers yet: certainty, what is new, and figures."""
_ENGLISH = re.compile(r"\b(?:the|and|you|that)\b")


def refuses(opening: str) -> bool:
    """Whether the opening of a completion that is not in English refuses."""
    if _ENGLISH.search(opening):
        return False
    for found in _REFUSAL.finditer(opening):
        before = _BEFORE.search(opening, max(0, found.start() - 40), found.start())
        if not _LACKS.search((before[0] if before else "") + found[0]):
            return True
    return False
