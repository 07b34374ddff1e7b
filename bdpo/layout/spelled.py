"""Texts that spell out a token which structures a turn, such as those that a chat template was applied to before."""

import re
from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from bdpo.layout.rendering import Message, Untokenizable


def find_spelled(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], chosen: str, rejected: str
) -> Untokenizable | None:
    """What refuses a pair in whose texts the tokenizer would find such a token itself (`special_token`).

    A second template would go around the first, and a turn end where a text says so.
    """
    pattern = _structuring(tokenizer, str(tokenizer.chat_template))
    if pattern is None:
        return None
    asked = [("prompt", message["content"]) for message in prompt]
    for name, text in (("chosen", chosen), ("rejected", rejected), *asked):
        if found := pattern.search(text):
            return Untokenizable(
                "special_token",
                f"`{name}` spells out `{found[0]}`, a special token; give messages, or texts without a chat template",
            )
    return None


@lru_cache(maxsize=16)
def _structuring(tokenizer: PreTrainedTokenizerBase, template: str) -> re.Pattern[str] | None:
    """The special tokens that have a role (begin, end, pad, unknown, ...) or that the template names.

    Others are let through: that they are one token to the model is so in chat as well, and they may be ordinary words,
    as the `<filename>` is that SmolLM2 has for code.
    """
    if tokenizer.split_special_tokens:
        return None
    special = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    tokens = [token for token in special if token in tokenizer.all_special_tokens or token in template]
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None
