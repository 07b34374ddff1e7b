"""Which of many pairs `tokenize_pair` would refuse, without tokenising their prompts.

Ingestion asks this of every row and keeps no token.  A special token cuts a text
in two pieces that the tokenizer never looks across, so where prompt plus response
begins with the prompt's text, what lies before the last special token of the
prompt has the same tokens in both.  The question is decided by what follows:
the template's words before the response and the response.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from bdpo.layout.chat import Message, Untokenizable, encode, end_of_turn, render, response_ids


class Sides(NamedTuple):
    """A prompt's messages and the contents of its two responses."""

    prompt: Sequence[Message]
    chosen: str
    rejected: str


def find_untokenizable(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Sides], *, max_length: int, max_prompt_length: int
) -> list[Untokenizable | None]:
    """What `tokenize_pair` would raise for each pair, in one call of the tokenizer.

    Args:
        tokenizer: has a chat template.
        pairs: prompts and responses.
        max_length: longest prompt plus response, in tokens.
        max_prompt_length: longest prompt, in tokens.

    Returns:
        One problem, or None, a pair.
    """
    rendered = _render_all(tokenizer, pairs)
    # With two tokens of room truncation never decides: it leaves what is neither nothing nor the end alone.
    markers = _markers(tokenizer) if max_length - max_prompt_length >= 2 else ()
    numbers: dict[str, int] = {}
    tails: list[tuple[bool, int, int, int] | Untokenizable] = []
    for texts in rendered:
        if isinstance(texts, Untokenizable):
            tails.append(texts)
            continue
        prompt = texts[0]
        cut = max((prompt.rfind(marker) for marker in markers), default=-1)
        is_cut = cut > 0 and texts[1].startswith(prompt) and texts[2].startswith(prompt)
        first, second, third = (numbers.setdefault(text[cut:] if is_cut else text, len(numbers)) for text in texts)
        tails.append((is_cut, first, second, third))
    ids = encode(tokenizer, *numbers) if numbers else []
    end = end_of_turn(tokenizer, str(tokenizer.chat_template))
    problems: list[Untokenizable | None] = []
    for tail in tails:
        if isinstance(tail, Untokenizable):
            problems.append(tail)
            continue
        is_cut, *texts_of = tail
        prompt_ids, chosen, rejected = (ids[number] for number in texts_of)
        room = max_length - (0 if is_cut else min(len(prompt_ids), max_prompt_length))
        try:
            response_ids(chosen, prompt_ids, end, room, "chosen")
            response_ids(rejected, prompt_ids, end, room, "rejected")
        except Untokenizable as problem:
            problems.append(problem)
        else:
            problems.append(None)
    return problems


def _render_all(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Sides]
) -> list[tuple[str, str, str] | Untokenizable]:
    """Prompt, prompt plus chosen and prompt plus rejected response of each pair, as text."""
    if not pairs:
        return []
    try:
        prompts = render(tokenizer, [pair.prompt for pair in pairs], generate=True)
        chosen = render(tokenizer, [_answered(pair.prompt, pair.chosen) for pair in pairs])
        rejected = render(tokenizer, [_answered(pair.prompt, pair.rejected) for pair in pairs])
        return list(zip(prompts, chosen, rejected, strict=True))
    except Untokenizable as problem:
        if len(pairs) == 1:
            return [problem]
    middle = len(pairs) // 2
    return _render_all(tokenizer, pairs[:middle]) + _render_all(tokenizer, pairs[middle:])


def _answered(prompt: Sequence[Message], response: str) -> list[Message]:
    return [*prompt, {"role": "assistant", "content": response}]


@lru_cache(maxsize=16)
def _markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Special tokens that cut a text wherever they are spelled out.

    They are looked for in the text as it is, take no space beside them along, and no other token of
    the kind can begin before and end after their beginning.  None where the tokenizer is not a fast
    one or reads special tokens as plain text.
    """
    if not tokenizer.is_fast or tokenizer.split_special_tokens:
        return ()
    added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    return tuple(
        text
        for text, token in added.items()
        if token.special
        and not (token.normalized or token.lstrip or token.rstrip or token.single_word)
        and text == text.strip()
        and not any(_covers_start(other, text) for other in added)
    )


def _covers_start(other: str, text: str) -> bool:
    """Whether `other`, found in a text, could hide a `text` that is spelled out there."""
    if other != text and other.startswith(text):
        return True
    tails = (other[i:] for i in range(1, len(other)))
    return any(tail.startswith(text) or text.startswith(tail) for tail in tails)
