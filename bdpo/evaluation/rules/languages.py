"""Plain refusals in languages other than English: the speaker's inability or unwillingness to do what was asked.

Only that one act, in a completion's first two sentences; objections and questions turned aside are read in
English alone.
"""

import json
import re
from pathlib import Path

_PATTERNS: dict[str, list[str]] = json.loads(Path(__file__).with_name("languages.json").read_text(encoding="utf-8"))
"""By language code."""
_REFUSAL = re.compile("|".join(pattern for patterns in _PATTERNS.values() for pattern in patterns))
_ENGLISH = re.compile(r"\b(?:the|and|you|that|is|to|of)\b")


def refuses(opening: str) -> bool:
    """Whether the opening of a completion that is not in English refuses."""
    return not _ENGLISH.search(opening) and bool(_REFUSAL.search(opening))
