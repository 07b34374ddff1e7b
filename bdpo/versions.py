"""Code versions: part of every fingerprint and key that the code's output depends on.

Raise a number when the same input and settings would give another output.
Kept apart from the code so that planning a run imports no model library.
"""

from typing import Final

LOGPROBS: Final = "9"
GENERATION: Final = "5"
STAGES: Final = {"ingest": "12", "score": "6", "train": "9", "evaluate": "16"}
