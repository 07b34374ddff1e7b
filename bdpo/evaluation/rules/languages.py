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
    """Stems of what an assistant does for who asks: `HELP` in the others stands for it."""
    refusals: list[str]


_LANGUAGES: dict[str, _Language] = json.loads(Path(__file__).with_name("languages.json").read_text(encoding="utf-8"))
"""By language code."""
_END_OF_CLAUSE = r"[^.!?,;\n\u3001\u3002\uff01\uff0c\uff1b\uff1f]{0,40}"
_REFUSAL = re.compile(
    "(?:"
    + "|".join(
        pattern.replace("HELP", language["help"])
        for language in _LANGUAGES.values()
        for pattern in language["refusals"]
    )
    + ")"
    + _END_OF_CLAUSE
)
_LACKS = re.compile(
    "garan[td]|гаранти|保[证證証]|보장|"
    "echtzeit|temps réel|tiempo real|tempo real|realtime|real-time|реальн\\w+ времени|实时|即時|リアルタイム|실시간"
)
"""What an assistant lacks in any language, and answers yet: certainty, and what is new."""
_ENGLISH = re.compile(r"\b(?:the|and|you|that)\b")


def refuses(opening: str) -> bool:
    """Whether the opening of a completion that is not in English refuses."""
    return not _ENGLISH.search(opening) and any(not _LACKS.search(found[0]) for found in _REFUSAL.finditer(opening))
