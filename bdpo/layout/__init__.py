"""From chat messages to token rows, and from token rows to the tensors of one forward pass."""

from bdpo.layout.chat import (
    Message,
    TokenizedPair,
    Untokenizable,
    null_prompt,
    tokenize_pair,
    tokenize_pairs,
    tokenize_prompt,
)
from bdpo.layout.rows import Batch, Layout, Row, collate, group_rows

__all__ = [
    "Batch",
    "Layout",
    "Message",
    "Row",
    "TokenizedPair",
    "Untokenizable",
    "collate",
    "group_rows",
    "null_prompt",
    "tokenize_pair",
    "tokenize_pairs",
    "tokenize_prompt",
]
